"""Score whole videos: scores, alarms, report and annotated videos, from one decoding pass."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets.manifest import VideoEntry
from evaluation.alarms import Alarm, AlarmStats, alarm_list, find_alarms
from evaluation.calibration import Rate
from evaluation.checkpoint import evaluate_checkpoint, origin
from evaluation.evaluate import Evaluation, Threshold
from evaluation.scores import Errors, error_names
from inference.kept_pictures import KeptPictures
from inference.predictor import Predictor
from inference.single_pass import ScoredFrame, StreamedMedian, score_frames
from inference.video_cubes import VideoCubes
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.files import digest, write_json
from visualization.annotate import Annotator
from visualization.gallery import choose_highlights
from visualization.publish import publish
from visualization.video_writer import VideoWriter


def score_videos(
    predictor: Predictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    threshold_spec: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
) -> None:
    """Score videos as ``eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_predictor``.
        entries: the videos.
        rates: frames per second of each.
        threshold_spec: see ``Predictor.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: also write the annotated videos.
    """
    threshold = predictor.threshold(threshold_spec, rates[0])
    pictures = KeptPictures(predictor.smoothing, predictor.explain)
    folder = output / "annotated" if with_video else None
    cubes, errors = _pass_through(predictor, entries, rates, threshold, pictures, folder)
    evaluation = evaluate_checkpoint(
        errors, cubes, predictor.path, predictor.checkpoint, predictor.config, None
    )
    evaluation = replace(evaluation, threshold=threshold)
    alarms, stats = _find_alarms(evaluation, rates)
    evaluation = replace(evaluation, raised=_rows(alarms, entries, rates), seen=stats.describe())
    fingerprint = digest([source_fingerprint(entry) for entry in entries])
    facts = origin(predictor.path, predictor.checkpoint, entries[0].source.parent, fingerprint)
    highlights = pictures.shown(choose_highlights(evaluation))
    publish(
        output, title, evaluation, facts, pictures.explain, pictures.stills, highlights=highlights
    )
    write_json(output / "alarms.json", alarm_list(threshold, stats, evaluation.raised))
    echo(f"alarms: {output / 'alarms.json'}: {stats.describe()}")
    if threshold is None:
        echo("  no threshold: the checkpoint has none for this score; pass --threshold VALUE")
    elif threshold.expected:
        echo(f"  to be expected on normal video: {threshold.expected}")
    if folder is not None:
        echo(f"annotated videos: {folder}")


def _pass_through(
    predictor: Predictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    threshold: Threshold | None,
    pictures: KeptPictures,
    folder: Path | None,
) -> tuple[VideoCubes, Errors]:
    """Every video once: cubes and their errors; pictures are kept, annotated videos written."""
    cubes, statistics = VideoCubes(entries), predictor.checkpoint["statistics"]
    names = error_names(statistics)
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in names}
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:
        for video, (entry, fps) in enumerate(zip(entries, rates, strict=True)):
            pictures.start()

            def take(frame: ScoredFrame, video: int = video) -> None:
                pictures.push(frame, len(cubes))
                _keep(cubes, parts, video, frame)

            with _annotating(predictor, entry, fps, threshold, folder) as draw:
                for frame, smoothed in _with_smoothed(predictor, entry, names, take):
                    if smoothed is not None:
                        pictures.consider(frame.index, smoothed)
                    draw(frame, smoothed)
                    bar.update(1)
            pictures.finish(entry.name)
    echo(f"{total} frames, {len(cubes)} cubes in {bar.format_dict['elapsed']:.1f} s")
    return cubes, {name: np.concatenate(values) for name, values in parts.items()}


def _with_smoothed(
    predictor: Predictor,
    entry: VideoEntry,
    names: Sequence[str],
    take: Callable[[ScoredFrame], None],
) -> Iterator[tuple[ScoredFrame, float | None]]:
    """Frames with their smoothed scores, which are known some frames later.

    ``take`` gets every frame as soon as it is scored: half a window before it is given here.
    """
    delayed: deque[ScoredFrame] = deque()
    median = StreamedMedian(predictor.smoothing)
    for frame in score_frames(predictor, entry, names):
        take(frame)
        delayed.append(frame)
        yield from ((delayed.popleft(), smoothed) for smoothed in median.push(frame.score))
    yield from ((delayed.popleft(), smoothed) for smoothed in median.finish())


def _keep(
    cubes: VideoCubes, parts: dict[str, list[np.ndarray]], video: int, frame: ScoredFrame
) -> None:
    if len(frame.cubes.boxes):
        cubes.add(video, frame.index, frame.cubes.boxes)
        for name, values in frame.errors.items():
            parts.setdefault(name, []).append(values)


@contextlib.contextmanager
def _annotating(
    predictor: Predictor,
    entry: VideoEntry,
    fps: float,
    threshold: Threshold | None,
    folder: Path | None,
) -> Iterator[Callable[[ScoredFrame, float | None], None]]:
    """What draws the frames of a video into its annotated video; does nothing without a folder."""
    if folder is None:
        yield lambda frame, smoothed: None
        return
    annotator = Annotator(predictor.scale(threshold), threshold.value if threshold else None)
    with VideoWriter(folder / f"{entry.name}.mp4", fps) as out:

        def draw(frame: ScoredFrame, smoothed: float | None) -> None:
            caption = f"{entry.name}  frame {frame.index}  {frame.index / fps:.1f} s"
            boxes, scores = frame.cubes.boxes, frame.cube_scores
            out.write(annotator.draw(frame.picture, boxes, scores, smoothed, caption))

        yield draw


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
