"""Score whole videos: scores, alarms, report and annotated videos, from one decoding pass."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.manifest import VideoEntry
from evaluation.calibration import Rate
from evaluation.checkpoint import evaluate_checkpoint, origin
from evaluation.evaluate import Threshold
from evaluation.scores import Errors
from inference.kept_pictures import KeptPictures
from inference.predictor import Predictor
from inference.raised import with_alarms, write_alarms
from inference.single_pass import ScoredFrame, StreamedMedian, score_frames
from inference.video_cubes import VideoCubes
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.files import digest
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
    pictures = KeptPictures(predictor.smoothing, predictor.model, predictor.device)
    folder = output / "annotated" if with_video else None
    cubes, errors = _pass_through(predictor, entries, rates, threshold, pictures, folder)
    evaluation = evaluate_checkpoint(
        errors, cubes, predictor.path, predictor.checkpoint, predictor.config, None
    )
    evaluation = replace(evaluation, threshold=threshold)
    evaluation, stats = with_alarms(evaluation, entries, rates)
    fingerprint = digest([source_fingerprint(entry) for entry in entries])
    facts = origin(predictor.path, predictor.checkpoint, entries[0].source.parent, fingerprint)
    highlights = pictures.shown(choose_highlights(evaluation))
    publish(
        output, title, evaluation, facts, pictures.explain, pictures.stills, highlights=highlights
    )
    write_alarms(output, evaluation, stats)
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
    names = [name for name, value in statistics.items() if type(value) is dict]
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
