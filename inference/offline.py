"""Score whole videos: scores, alarms, report and annotated videos, from one decoding pass."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.manifest import VideoEntry
from evaluation.alarms import AlarmEvent, AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.checkpoint import evaluate_checkpoint, origin
from evaluation.scores import Errors, error_names
from inference.annotated import AnnotatedVideo
from inference.kept_pictures import KeptPictures
from inference.predictor import Predictor
from inference.raised import with_alarms, write_alarms
from inference.single_pass import ScoredFrame, StreamedMedian, score_frames
from inference.video_cubes import VideoCubes
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.files import digest
from visualization.gallery import choose_highlights
from visualization.publish import publish


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

    def annotated(entry: VideoEntry, fps: float) -> AnnotatedVideo:
        drawing, alarms = predictor.annotator(threshold), predictor.config.alarms
        return AnnotatedVideo(output, entry.name, fps, drawing, threshold, alarms, with_video)

    rule = AlarmRule.of(threshold, predictor.config.alarms)
    cubes, errors = _pass_through(predictor, entries, rates, rule, pictures, annotated)
    evaluation = evaluate_checkpoint(
        errors, cubes, predictor.path, predictor.checkpoint, predictor.config, None
    )
    evaluation = replace(evaluation, threshold=threshold)
    evaluation, stats = with_alarms(evaluation, rule, rates, output)
    fingerprint = digest([source_fingerprint(entry) for entry in entries])
    facts = origin(predictor.path, predictor.checkpoint, entries[0].source.parent, fingerprint)
    highlights = pictures.shown(choose_highlights(evaluation))
    publish(
        output, title, evaluation, facts, pictures.explain, pictures.stills, highlights=highlights
    )
    write_alarms(output, evaluation, stats)
    if with_video:
        echo(f"annotated videos: {output / 'annotated'}")


def _pass_through(
    predictor: Predictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    rule: AlarmRule,
    pictures: KeptPictures,
    annotated: Callable[[VideoEntry, float], AnnotatedVideo],
) -> tuple[VideoCubes, Errors]:
    """Every video once: cubes and their errors; pictures are kept, annotated videos written."""
    cubes, statistics = VideoCubes(entries), predictor.checkpoint["statistics"]
    names = error_names(statistics)
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in names}
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:
        for video, (entry, fps) in enumerate(zip(entries, rates, strict=True)):
            pictures.start()
            tracker = AlarmTracker(entry.name, rule, 1 / fps)

            def take(frame: ScoredFrame, video: int = video) -> None:
                pictures.push(frame, len(cubes))
                _keep(cubes, parts, video, frame)

            with annotated(entry, fps) as drawing:
                for frame, smoothed in _with_smoothed(predictor, entry, names, take):
                    events: list[AlarmEvent] = []
                    if smoothed is not None:
                        events = tracker.push(frame.index, smoothed, frame.index / fps)
                        pictures.consider(frame.index, smoothed, tracker.latest)
                    drawing.draw(frame, smoothed, events)
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
