"""What a checkpoint is evaluated on: a data set of ours, or published files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cubes.dataset import CubeSet
from datasets.labels.frame_labels import FILE_NAME as LABEL_FILE
from datasets.labels.ground_truth import load_ground_truth
from datasets.labels.origin import describe_labels
from datasets.labels.regions import Region
from datasets.manifest import DataSet, load_dataset
from datasets.stills import read_stills
from datasets.videos import describe_video
from evaluation.scores import STAGES
from pre_process.preparation.layouts import find_layout
from published.chunks import ChunkSet
from published.config import is_published_config
from published.inputs import LABEL_FILE as PUBLISHED_LABELS
from published.inputs import open_published, require_below, with_statistics
from utils.checkpoint import load_finished
from utils.config.hf2vad import PreProcessConfig
from utils.config.load import load_config, scoring_config
from utils.errors import UserError

_CORNERS = ("x1", "y1", "x2", "y2")
logger = logging.getLogger(__name__)

Stills = Callable[[Iterable[tuple[str, int]]], Iterable[Any]]


@dataclass(frozen=True)
class TestData:
    """Test cubes, what is known about them, and how checkpoints to predictor on them are read.

    Attributes:
        name: of the data set.
        folder: where it lies.
        cubes: in the order of the scores.
        labels: video -> (num_frames,) uint8, or ``None``.
        regions: labelled regions, or ``None``.
        stills: (video, frame) pairs -> pairs and frames, see ``datasets.stills.read_stills``.
        load: reads a checkpoint and its score statistics.
        output: where results go when nothing else is said.
        label_source: name and digest of the label file; empty: none.
    """

    __test__ = False  # no test class, whatever the name

    name: str
    folder: Path
    cubes: CubeSet | ChunkSet
    labels: dict[str, np.ndarray] | None
    regions: list[Region] | None
    stills: Stills
    load: Callable[[Path], dict[str, Any]]
    output: Path
    label_source: str = ""


def open_test_data(
    path: Path, cfg_file: str | None, overrides: Sequence[str], output: Path | None
) -> tuple[Any, TestData]:
    """Open the test data that the command line names.

    Args:
        path: the checkpoint, ours or published.
        cfg_file: a configuration, ours or published, or ``None``: the checkpoint's own.
        overrides: ``key.sub=value`` for its blocks data, run and eval.
        output: where the results go, if said; statistics of published weights are kept there.

    Returns:
        The configuration to score with, and the data.

    Raises:
        UserError: faults of any file.
    """
    if cfg_file is not None and is_published_config(cfg_file):
        return _open_published(path, cfg_file, overrides, output)
    config = scoring_config(load_finished(path)["config"], str(path), cfg_file, overrides)
    extracted_with = _extracted_with(config, path, cfg_file)
    folder = config.data.folder
    dataset = load_dataset(folder)
    labels, regions = load_ground_truth(folder)
    regions = None if regions is None else _as_read(regions, dataset)
    return config, TestData(
        name=dataset.name,
        folder=folder,
        cubes=CubeSet.open(folder, "testing", pre_process=extracted_with),
        labels=labels,
        regions=regions,
        stills=partial(read_stills, dataset, "testing"),
        load=partial(load_finished, stages=STAGES),
        output=output or path.parent / "eval",
        label_source="" if labels is None else describe_labels(folder / LABEL_FILE),
    )


def _as_read(regions: Sequence[Region], dataset: DataSet) -> list[Region]:
    """Regions in pixels of the frames as they are read, which may be smaller than the source's."""
    shares = {
        entry.name: entry.width / entry.native_size[0] if entry.native_size else 1.0
        for entry in dataset.videos("testing")
    }
    return [
        replace(
            each,
            **{name: getattr(each, name) * shares.get(each.video, 1.0) for name in _CORNERS},
        )
        for each in regions
    ]


def _extracted_with(config: Any, path: Path, cfg_file: str | None) -> PreProcessConfig:
    """What the test cubes must be extracted with: the checkpoint's, or another data set's own."""
    if cfg_file is None:
        return config.pre_process
    own = load_config(cfg_file).pre_process
    if own != config.pre_process:
        logger.warning(
            "%s: its pre_process is not the one that %s was trained with: scores of cubes that "
            "are made in another way may not be comparable",
            cfg_file,
            path,
        )
    return own


def _open_published(
    path: Path, cfg_file: str, overrides: Sequence[str], output: Path | None
) -> tuple[Any, TestData]:
    run = open_published(path, cfg_file, overrides)
    config = scoring_config(run.checkpoint["config"], cfg_file, None, overrides, opens=())
    if output is None:
        output = run.published.output_folder
        require_below(output, f"{cfg_file}: eval_root", f"add --output {output}, or another folder")

    def load(checkpoint: Path) -> dict[str, Any]:
        each = run if checkpoint == path else open_published(checkpoint, cfg_file, overrides)
        return with_statistics(each, output)

    return config, TestData(
        name=run.published.dataset_name,
        folder=run.published.data_folder,
        cubes=run.testing,
        labels=run.labels,
        regions=None,
        stills=_published_stills(run.published.data_folder, run.labels),
        load=load,
        output=output,
        label_source=describe_labels(run.published.data_folder / PUBLISHED_LABELS),
    )


def _published_stills(folder: Path, labels: dict[str, np.ndarray]) -> Stills:
    """Frames beside the chunks, where they are there; pictures in the report are a bonus."""
    try:
        videos = find_layout(folder, folder.name).testing
        entries = [describe_video(video, "testing") for video in videos]
    except UserError:
        entries = []
    if [entry.num_frames for entry in entries] != [len(values) for values in labels.values()]:
        return lambda _wanted: ()
    named = [replace(entry, name=name) for entry, name in zip(entries, labels, strict=True)]
    return partial(read_stills, DataSet(folder, folder.name, tuple(named)), "testing")
