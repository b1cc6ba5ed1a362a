"""Score whole videos: scores, alarms, report and annotated videos, from one decoding pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.alarms import AlarmEvent, AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.checkpoint import evaluate_checkpoint
from evaluation.evaluate import Evaluation
from evaluation.scores import error_names
from inference.fitting import Recording
from inference.job import Job
from inference.predictor import Predictor
from inference.results.finished import FinishedVideos
from inference.results.kept_pictures import PictureKeeper
from inference.results.one_by_one import score_one_by_one
from inference.single_pass import ScoredFrame, StreamedMedian, score_frames
from inference.video_cubes import ResultCollector, VideoCubes, VideoResult


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

    def count(self, results: Sequence[VideoResult]) -> str:
        """How many cubes videos have."""
        return f"{sum(len(result.frames) for result in results)} cubes"


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

    def score(recording: Recording, report: Callable[[int], object]) -> VideoResult:
        return _score_one(job, recording, report)

    scored = score_one_by_one(job, recordings, score, faults, finished)
    evaluation = job.evaluate([result for _, result in scored])
    job.publish(title, scored, evaluation, {}, explains_cubes=True)
    finished.remove()


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
