"""Published checkpoints and data folders, opened as if they were ours.

What is opened here has the form of our own files: a checkpoint dictionary, labels by video name,
and cube sets that the loader reads. Evaluation goes on from there without knowing the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import CubeLoader
from datasets.labels.formats import Intervals, read_raw
from datasets.labels.frame_labels import read_labels
from engine.scoring.build import checkpoint_scorer
from engine.scoring.distributed import score_distributed
from evaluation.scores import Errors, error_statistics
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from published.chunks import ChunkSet
from published.config import (
    FRAME_SIZES,
    PublishedConfig,
    load_published_config,
    read_published_state,
    to_our_config,
)
from published.state_dict_keys import from_published
from utils.distributed import broadcast, is_first
from utils.errors import UserError
from utils.files import read_json, sha256_file, write_json
from utils.runtime import pick_device
from utils.untrusted.text import safe_name

logger = logging.getLogger(__name__)

LABEL_FILE = Path("ground_truth_demo/gt_label.json")
STATISTICS_FILE = "training_statistics.json"


@dataclass(frozen=True)
class PublishedRun:
    """A published checkpoint with its configuration and data set.

    Attributes:
        published: the configuration as published.
        checkpoint: in the form of ``utils.checkpoint.load_checkpoint``; ``statistics`` are
            ``None`` until ``with_statistics`` has put them there.
        labels: test video -> (num_frames,) uint8.
        testing: all test cubes.
    """

    published: PublishedConfig
    checkpoint: dict[str, Any]
    labels: dict[str, np.ndarray]
    testing: ChunkSet


def open_published(
    model_save_path: str | Path, cfg_file: str | Path, overrides: Sequence[str] = ()
) -> PublishedRun:
    """Open everything that the published evaluation command names.

    Args:
        model_save_path: published ``.pth``, of the full model or of stage 1 alone.
        cfg_file: published ``.yaml``; it tells where the data set lies.
        overrides: the user's ``key.sub=value`` strings; ``data.root`` admits a data set elsewhere
            than below the working folder.

    Raises:
        UserError: faults of any of the files, a checkpoint of another architecture than
            configured, chunks and labels that do not fit each other, an unknown data set.
    """
    published = load_published_config(cfg_file)
    require_admitted(published, str(cfg_file), overrides)
    require_data_folder(published, str(cfg_file))
    checkpoint = published_checkpoint(model_save_path, published, str(cfg_file))
    labels = published_labels(published.data_folder / LABEL_FILE)
    lengths = {name: len(values) for name, values in labels.items()}
    testing = ChunkSet.open(published.data_folder, "testing", lengths)
    return PublishedRun(published, checkpoint, labels, testing)


def published_checkpoint(
    path: str | Path,
    published: PublishedConfig,
    config_source: str,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """A published checkpoint in the form of ours, without score statistics.

    Args:
        path: the published ``.pth`` file.
        published: the configuration beside it.
        config_source: that configuration's path, for messages.
        overrides: ``key.sub=value`` for the checkpoint's configuration.

    Raises:
        UserError: faults of either file, or tensors that differ from the configured model's
            (each named, by its published name).
    """
    stage, state = read_published_state(path)
    config = to_our_config(published, stage, config_source, overrides)
    sizes = config.model.model_dump()
    with torch.device("meta"):
        memae_only = stage == "ml_memae_sc"
        model = MLMemAESC(**sizes["memae"]) if memae_only else build_hf2vad(**sizes)
    return {
        "system": "hf2vad",
        "stage": stage,
        "config": config.model_dump(mode="json"),
        "model": from_published(state, model.state_dict(), str(path)),
        "finished": True,
        "epoch": 0,
        "step": 0,
        "selection": f"{stage}, published weights {Path(path).name}: the file does not say how "
        "its epoch was chosen (the released ones: by test AUC)",
        "statistics": None,
        "threshold": None,
        "provenance": {"published_file": Path(path).name, "sha256": sha256_file(Path(path))},
    }


def published_labels(path: Path) -> dict[str, np.ndarray]:
    """Read ``gt_label.json``; the lengths of the test videos are those of its entries.

    Returns:
        Video -> (num_frames,) uint8, in the order in which the videos were joined. Videos that
        the file only numbers (0, 1, ...) are named as in the data set (``01``, ``02``, ...).

    Raises:
        UserError: missing, unsafe or damaged file, or not one value a frame.
    """
    raw = read_raw(path)
    if raw.keys is None or any(isinstance(values, Intervals) for values in raw.values):
        raise UserError(f"{path}: must hold a dict, video -> one label (0 or 1) a frame")
    names = [
        f"{key + 1:02d}" if isinstance(key, int) else safe_name(str(key).removesuffix(".npy"))
        for key in raw.keys
    ]
    lengths = {
        name: len(np.asarray(values)) for name, values in zip(names, raw.values, strict=True)
    }
    return read_labels(path, {name: lengths[name] for name in sorted(lengths)})


def require_admitted(published: PublishedConfig, source: str, overrides: Sequence[str]) -> None:
    """Refuse a data set elsewhere than below the working folder, but for the user's ``data.root``.

    ``source`` is the published file, for messages.
    """
    if not any(override.startswith("data.root=") for override in overrides):
        remedy = f"if you trust it, add --set data.root={published.data_folder}"
        require_below(published.data_folder, f"{source}: dataset_base_dir", remedy)


def require_below(folder: Path, key: str, remedy: str) -> None:
    """Refuse a folder out of a published file that leads out of the working folder."""
    if folder.is_absolute() or ".." in folder.parts:
        raise UserError(
            f"{key}: {folder} is not below the working folder; what a published file names "
            f"elsewhere is opened only when you name it, too: {remedy}"
        )


def require_data_folder(published: PublishedConfig, source: str) -> None:
    """Refuse a data set whose folder is not there."""
    if not published.data_folder.is_dir():
        raise UserError(
            f"{source}: dataset_name '{published.dataset_name}': no folder "
            f"{published.data_folder}; the published names are {', '.join(FRAME_SIZES)}, and the "
            "folder must hold training/, testing/ and ground_truth_demo/ (see dataset_base_dir)"
        )


def with_statistics(run: PublishedRun, cache_folder: Path) -> dict[str, Any]:
    """The run's checkpoint with score statistics of the training chunks.

    They are computed once for a checkpoint and its chunks and kept as
    ``training_statistics.json`` in ``cache_folder``. Stage 1 alone is not normalised and needs
    none.

    Raises:
        UserError: faults of the training chunks.
    """
    if run.checkpoint["stage"] == "ml_memae_sc":
        return {**run.checkpoint, "statistics": {"num_cubes": 0}}
    training = ChunkSet.open(run.published.data_folder, "training")
    path = cache_folder / STATISTICS_FILE
    made_from = {
        "checkpoint": run.checkpoint["provenance"]["sha256"],
        "model": run.checkpoint["config"]["model"],
        "chunks": training.fingerprint,
    }
    cached = broadcast(read_json(path) if path.is_file() else {})
    if cached.get("made_from") == made_from:
        logger.info("training statistics from %s", path)
    else:
        statistics = error_statistics(training_errors(run.checkpoint, training))
        cached = {"made_from": made_from, "statistics": statistics}
        if is_first():
            write_json(path, cached)
    return {**run.checkpoint, "statistics": cached["statistics"]}


def training_errors(checkpoint: dict[str, Any], cubes: ChunkSet | CubeSet) -> Errors:
    """Score the training cubes with a published checkpoint: named errors, each (n,) float64."""
    settings = checkpoint["config"]["run"], checkpoint["config"]["eval"]
    device = pick_device(settings[0]["device"])
    source = Path(checkpoint["provenance"]["published_file"])
    scorer = checkpoint_scorer(checkpoint, source, device, settings[1]["backend"])
    return score_distributed(
        CubeLoader(cubes, settings[1]["batch_size"]),
        lambda batch: scorer(batch.appearance.numpy(), batch.motion.numpy()),
        "training",
    )
