"""Score whole videos: scores, alarms, report and annotated videos, from one decoding pass."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.alarms import AlarmEvent, AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.checkpoint import evaluate_checkpoint
from evaluation.evaluate import Evaluation
from evaluation.scores import error_names
from inference.faults import take_readable
from inference.fitting import Recording, UnreadableVideo
from inference.job import Job
from inference.predictor import Predictor
from inference.results.finished import FinishedVideos
from inference.results.kept_pictures import PictureKeeper
from inference.results.running_tables import RunningTables
from inference.single_pass import ScoredFrame, StreamedMedian, score_frames
from inference.video_cubes import ResultCollector, VideoCubes, VideoResult
from pre_process.cubes.settings import source_fingerprint
from utils.console import echo
from utils.runtime import old_objects_set_aside


@dataclass(frozen=True)
class _CubeJob(Job):
    """The job of a ``Predictor``."""

    def evaluate(self, results: Sequence[VideoResult]) -> Evaluation:
        """Scores of videos, without labels."""
        cubes, predictor = VideoCubes(results), self.predictor
        evaluation = evaluate_checkpoint(
            cubes.errors, cubes, predictor.path, predictor.checkpoint, predictor.config, None
        )
        return replace(evaluation, threshold=self.threshold)


def score_videos(
    predictor: Predictor,
    recordings: Sequence[Recording],
    threshold_spec: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
    faults: list[str] | None = None,
    finished: FinishedVideos | None = None,
) -> None:
    """Score videos as ``eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_predictor``.
        recordings: the videos.
        threshold_spec: see ``Predictor.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: also write the annotated videos.
        faults: see ``take_readable``.
        finished: those of this run that an interruption left; default: none.

    Raises:
        UserError: a video that cannot be read to its end, where ``faults`` does not take it.
    """
    threshold = predictor.threshold(threshold_spec, recordings[0].fps)
    rule = AlarmRule.of(threshold, predictor.config.alarms)
    job = _CubeJob(predictor, threshold, rule, output, with_video)
    finished = finished or FinishedVideos(output, "")
    finished.begin()
    scored = _score_all(job, recordings, faults, finished)
    evaluation = job.evaluate([result for _, result in scored])
    job.publish(title, scored, evaluation, {}, explains_cubes=True)
    finished.remove()


def _score_all(
    job: _CubeJob,
    recordings: Sequence[Recording],
    faults: list[str] | None,
    finished: FinishedVideos,
) -> list[tuple[Recording, VideoResult]]:
    """Every video once, or not again; what is known of it is written as soon as it is scored."""
    tables = RunningTables(job.output, job.evaluate, job.rule)
    total = sum(each.entry.num_frames for each in recordings)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:

        def score(recording: Recording) -> tuple[Recording, VideoResult]:
            name, source = recording.entry.name, _identity(recording)
            result = finished.get(name, source)
            if result is None:
                result = _score_one(job, recording, bar.update)
                finished.keep(result, source)
            else:
                bar.total -= len(result.seconds)
            tables.add(result, recording.fps)
            return recording, result

        with old_objects_set_aside():
            scored = take_readable(recordings, score, faults, UnreadableVideo)
    num_cubes = sum(len(result.frames) for _, result in scored)
    echo(f"{bar.n} frames, {num_cubes} cubes in {bar.format_dict['elapsed']:.1f} s")
    return scored


def _identity(recording: Recording) -> dict[str, Any]:
    """What tells a video from another of its name, and from the same in another size or rate."""
    entry = recording.entry
    size = {"width": entry.width, "height": entry.height, "fps": recording.fps}
    original = getattr(entry, "original", entry)
    return {**source_fingerprint(original), **size, "source": str(entry.source)}


def _score_one(job: _CubeJob, recording: Recording, report: Callable[[int], object]) -> VideoResult:
    """Score a video, draw it, cut clips of its alarms; ``report`` gets numbers of frames."""
    predictor, name = job.predictor, recording.entry.name
    names = error_names(predictor.checkpoint["statistics"])
    collector, pictures = ResultCollector(name, names), PictureKeeper(predictor.smoothing)
    tracker = AlarmTracker(name, job.rule, 1 / recording.fps)

    def take(frame: ScoredFrame) -> None:
        pictures.push(frame, collector.num_cubes)
        collector.add(frame.seconds, frame.cubes.boxes, frame.errors)

    with job.drawing(recording) as drawing:
        for frame, smoothed in _with_smoothed(predictor, recording, names, take):
            events: list[AlarmEvent] = []
            if smoothed is not None:
                events = tracker.push(frame.index, smoothed, frame.seconds)
                pictures.consider(frame.index, smoothed, tracker.latest)
            drawing.draw(frame, smoothed, events)
            report(1)
    return collector.result(pictures.kept())


def _with_smoothed(
    predictor: Predictor,
    recording: Recording,
    names: Sequence[str],
    take: Callable[[ScoredFrame], None],
) -> Iterator[tuple[ScoredFrame, float | None]]:
    """Frames with their smoothed scores, which are known some frames later.

    ``take`` gets every frame as soon as it is scored: half a window before it is given here.
    """
    delayed: deque[ScoredFrame] = deque()
    median = StreamedMedian(predictor.smoothing)
    for frame in score_frames(predictor, recording, names):
        take(frame)
        delayed.append(frame)
        yield from ((delayed.popleft(), smoothed) for smoothed in median.push(frame.score))
    yield from ((delayed.popleft(), smoothed) for smoothed in median.finish())
