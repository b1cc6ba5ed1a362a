"""Predictor whole videos: scores, alarms, report and annotated videos."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from datasets.cubes.loader import to_network_inputs
from datasets.manifest import DataSet, VideoEntry
from datasets.stills import read_stills
from datasets.videos import read_frames
from evaluation import checkpoint
from evaluation.alarms import Alarm, AlarmStats, alarm_list, find_alarms
from evaluation.calibration import Rate
from evaluation.evaluate import Evaluation
from evaluation.scores import Errors
from inference.predictor import Predictor
from inference.re_extraction import re_extract
from inference.sources import SPLIT
from inference.video_cubes import StreamedCubes, join_cubes, score_cubes
from models.hf2vad.from_checkpoint import explain, model_from_checkpoint
from pre_process.cubes.settings import source_fingerprint
from pre_process.flow.build import build_flow
from utils.console import echo
from utils.files import digest, write_json
from visualization.annotate import Annotator
from visualization.publish import publish
from visualization.video_writer import VideoWriter

_FRAMES_AT_ONCE = 8  # handed to detector and flow


def score_videos(
    predictor: Predictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    wanted: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
) -> None:
    """Score videos as ``eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_predictor``.
        entries: the videos.
        rates: frames a second of each.
        wanted: see ``Predictor.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: also write the annotated videos.
    """
    cubes, errors = _score(predictor, entries)
    found = checkpoint.evaluate_checkpoint(
        errors, cubes, predictor.path, predictor.checkpoint, predictor.config, None
    )
    threshold = predictor.threshold(wanted, rates[0])
    found = replace(found, threshold=threshold)
    alarms, seen = _find_alarms(found, rates)
    found = replace(found, raised=_rows(alarms, entries, rates), seen=seen.describe())
    pictures = _Pictures(predictor, entries, found)
    fingerprint = digest([source_fingerprint(entry) for entry in entries])
    facts = checkpoint.origin(
        predictor.path, predictor.checkpoint, entries[0].source.parent, fingerprint
    )
    publish(output, title, found, facts, pictures.explain, pictures.stills)
    write_json(output / "alarms.json", alarm_list(threshold, seen, found.raised))
    echo(f"alarms: {output / 'alarms.json'}: {seen.describe()}")
    if threshold is None:
        echo("  no threshold: the checkpoint has none for this score; pass --threshold VALUE")
    elif threshold.expected:
        echo(f"  to be expected on normal video: {threshold.expected}")
    if with_video:
        _annotate(predictor, entries, rates, found, output / "annotated")
        echo(f"annotated videos: {output / 'annotated'}")


def _score(predictor: Predictor, entries: Sequence[VideoEntry]) -> tuple[StreamedCubes, Errors]:
    cubes, extractor = StreamedCubes(entries), predictor.extractor(_FRAMES_AT_ONCE)
    names = [
        name for name, value in predictor.checkpoint["statistics"].items() if type(value) is dict
    ]
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:
        batches = cubes.batches(extractor, predictor.config.eval.batch_size, bar.update)
        errors = score_cubes(batches, predictor.scorer, names)
    echo(f"{total} frames, {len(cubes.frames)} cubes in {bar.format_dict['elapsed']:.1f} s")
    return cubes, errors


def _find_alarms(evaluation: Evaluation, rates: Sequence[float]) -> tuple[list[Alarm], AlarmStats]:
    value = evaluation.threshold.value if evaluation.threshold else None
    alarms, seconds, frames, trim = [], 0.0, 0, evaluation.smoothing.trim
    pairs = zip(evaluation.cubes.videos, evaluation.primary.scores, rates, strict=True)
    for name, scores, fps in pairs:
        alarms += find_alarms(name, scores, value, trim)
        seconds, frames = seconds + len(scores) / fps, frames + len(scores)
    in_alarm = sum(alarm.stop - alarm.start for alarm in alarms)
    return alarms, AlarmStats(len(alarms), in_alarm, frames, seconds)


def _rows(
    alarms: Sequence[Alarm], entries: Sequence[VideoEntry], rates: Sequence[float]
) -> list[dict[str, Any]]:
    fps = {entry.name: rate for entry, rate in zip(entries, rates, strict=True)}
    return [alarm.as_json(fps[alarm.video]) for alarm in alarms]


class _Pictures:
    """Cubes and frames of the report, read from the videos a second time."""

    def __init__(
        self, predictor: Predictor, entries: Sequence[VideoEntry], evaluation: Evaluation
    ) -> None:
        self._model = model_from_checkpoint(predictor.checkpoint, str(predictor.path)).to(
            predictor.device
        )
        self._flow = build_flow(predictor.config.pre_process)
        self._device, self._entries, self._cubes = predictor.device, entries, evaluation.cubes

    def explain(self, indices: np.ndarray) -> dict[str, Any]:
        """What the model expected of cubes (k,); see ``models.hf2vad.from_checkpoint.explain``."""
        where = self._cubes.video_index[indices], self._cubes.frames[indices]
        order = np.lexsort(where[::-1])  # by video, then frame: the order of recutting
        parts = []
        for video in np.unique(where[0]).tolist():
            inside = indices[order][where[0][order] == video]
            frames = self._cubes.frames[inside]
            boxes = {int(f): self._cubes.boxes[inside[frames == f]] for f in np.unique(frames)}
            parts += re_extract(self._entries[video], boxes, self._flow)
        appearance, motion = map(torch.from_numpy, join_cubes(parts))
        seen = explain(self._model, *to_network_inputs(appearance, motion, self._device))
        back = np.argsort(order)
        return {name: values.numpy()[back] for name, values in seen.items()}

    def stills(self, wanted: Iterable[tuple[str, int]]) -> Iterable[Any]:
        """Frames of (video, frame) pairs; see ``datasets.stills.read_stills``."""
        return read_stills(DataSet(Path(), "", tuple(self._entries)), SPLIT, wanted)


def _annotate(
    predictor: Predictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    evaluation: Evaluation,
    folder: Path,
) -> None:
    threshold, trim = evaluation.threshold, evaluation.smoothing.trim
    cubes, cube_scores = evaluation.cubes, evaluation.primary.cube_scores
    for video, (entry, fps) in enumerate(zip(entries, rates, strict=True)):
        value = threshold.value if threshold else None
        annotator = Annotator(predictor.scale(threshold), value)
        mine = np.flatnonzero(cubes.video_index == video)
        edges = np.searchsorted(cubes.frames[mine], np.arange(entry.num_frames + 1))
        scores = evaluation.primary.scores[video]
        frames = tqdm(
            read_frames(entry), f"drawing {entry.name}", entry.num_frames,
            leave=False, unit="frame", mininterval=1.0,
        )  # fmt: skip
        with VideoWriter(folder / f"{entry.name}.mp4", fps) as out:
            for index, frame in enumerate(frames):
                here = mine[edges[index] : edges[index + 1]]
                score = float(scores[index - trim]) if index >= trim else None
                caption = f"{entry.name}  frame {index}  {index / fps:.1f} s"
                out.write(
                    annotator.draw(frame, cubes.boxes[here], cube_scores[here], score, caption)
                )
