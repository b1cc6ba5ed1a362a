"""Whole videos scored by FRD-UVAD: scores, alarms, clips, annotated videos, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import VideoEntry
from datasets.video_files import TimedFrame
from engine.frd.diagnosis import report_facts
from evaluation.alarms import AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.evaluate import Evaluation
from evaluation.frd import SnippetScores, evaluate_snippets
from inference.fitting import Recording, read_recording
from inference.frd.predictor import SnippetPredictor
from inference.frd.stream import SnippetStream, Values
from inference.job import Job
from inference.results.finished import FinishedVideos
from inference.results.kept_pictures import PictureKeeper
from inference.results.one_by_one import score_one_by_one
from inference.single_pass import ScoredFrame
from inference.video_cubes import ResultCollector, VideoResult
from pre_process.cubes.extractor import FrameCubes
from pre_process.features.build import Backbone
from utils.console import echo
from utils.threads.read_ahead import read_ahead

# A frame is scored as a whole: it is drawn without boxes, and kept for the report like a cube.
_NO_CUBES = FrameCubes(0, *(np.zeros((0, 4), np.float32),) * 3)
_WHOLE = FrameCubes(0, *(np.zeros((1, 4), np.float32),) * 3)
_MOST_READ = 8  # frames decoded beside the features of those before

BackboneOf = Callable[[VideoEntry], Backbone]


@dataclass(frozen=True)
class _SnippetJob(Job):
    """The job of a ``SnippetPredictor``.

    Attributes:
        backbone_of: gives the features of a video.
    """

    backbone_of: BackboneOf

    def evaluate(self, results: Sequence[VideoResult]) -> Evaluation:
        """Scores of videos, without labels."""
        predictor = self.predictor
        names, lengths = [result.name for result in results], self._lengths(results)
        evaluation = evaluate_snippets(
            SnippetScores(names, lengths, self.values(results)),
            None,
            predictor.path,
            predictor.checkpoint,
            predictor.config,
            [len(result.seconds) for result in results],
        )
        return replace(evaluation, threshold=self.threshold)

    def values(self, results: Sequence[VideoResult]) -> dict[str, np.ndarray]:
        """What the snippets of videos are scored by, one after the other."""
        each, lengths = self.predictor.config.data.frames_per_snippet, self._lengths(results)
        return {
            name: np.concatenate(
                [r.errors[name][::each][:n] for r, n in zip(results, lengths, strict=True)]
            )
            for name in results[0].errors
        }

    def count(self, results: Sequence[VideoResult]) -> str:
        """How many snippets videos have."""
        return f"{sum(self._lengths(results))} snippets"

    def _lengths(self, results: Sequence[VideoResult]) -> list[int]:
        each = self.predictor.config.data.frames_per_snippet
        return [max(1, len(result.seconds) // each) for result in results]


def score_snippet_videos(
    predictor: SnippetPredictor,
    recordings: Sequence[Recording],
    threshold_spec: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
    faults: list[str] | None = None,
    finished: FinishedVideos | None = None,
    backbone_of: BackboneOf | None = None,
) -> None:
    """Score videos as ``frd_eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_snippet_predictor``.
        recordings: the videos.
        threshold_spec: see ``SnippetPredictor.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: also write the annotated videos.
        faults: see ``take_readable``.
        finished: those of this run that an interruption left; default: none.
        backbone_of: gives the features of a video; ``None``: they are made.

    Raises:
        UserError: a rate of false alarms, for which there is no normal video to count on, or a
            feature backend without weights or of another size than the network reads.
    """
    threshold = predictor.threshold(threshold_spec)
    rule = AlarmRule.of(threshold, predictor.config.alarms)
    echo(f"alarm from a score of {threshold.value:.3g} on, of 0 to 1: {threshold.source}")
    backbone_of = backbone_of or _same_for_all(predictor.backbone())
    job = _SnippetJob(predictor, threshold, rule, output, with_video, backbone_of)
    finished = finished or FinishedVideos(output, "")

    def score(recording: Recording, report: Callable[[int], object]) -> VideoResult:
        return _score_one(job, recording, report)

    scored = score_one_by_one(job, recordings, score, faults, finished)
    results = [result for _, result in scored]
    facts = report_facts(predictor.checkpoint, job.values(results))
    job.publish(title, scored, job.evaluate(results), facts, explains_cubes=False)
    finished.remove()


def _same_for_all(backbone: Backbone) -> BackboneOf:
    return lambda _: backbone


def _score_one(
    job: _SnippetJob, recording: Recording, report: Callable[[int], object]
) -> VideoResult:
    """Score a video, draw it, cut clips of its alarms; ``report`` gets numbers of frames."""
    collector = ResultCollector(recording.entry.name, ())
    pictures = PictureKeeper(job.predictor.smoothing)
    tracker = AlarmTracker(recording.entry.name, job.rule, 1 / recording.fps)
    with job.drawing(recording) as drawing:
        for index, frame, values in _frames(job, recording):
            score, seconds = values["score"], frame.seconds
            errors = {name: np.array([value]) for name, value in values.items()}
            collector.add(seconds, _WHOLE.boxes, errors)
            drawn = ScoredFrame(index, seconds, frame.picture, _NO_CUBES, {}, np.zeros(0), score)
            pictures.push(replace(drawn, cubes=_WHOLE, cube_scores=np.array([score])), index)
            events = tracker.push(index, score, seconds)
            pictures.consider(index, score, tracker.latest)
            drawing.draw(drawn, score, events)
            report(1)
    return collector.result(pictures.kept())


def _frames(job: _SnippetJob, recording: Recording) -> Iterator[tuple[int, TimedFrame, Values]]:
    """The frames of a video, numbered, with what their snippets are scored by."""
    predictor = job.predictor
    stream: SnippetStream[tuple[int, TimedFrame]] = SnippetStream(
        job.backbone_of(recording.entry), predictor.values, predictor.config.data.frames_per_snippet
    )

    def given(ready: Sequence[tuple[tuple[int, TimedFrame], Values | None]]) -> Iterator[Any]:
        return ((*item, values) for item, values in ready)

    for index, frame in enumerate(read_ahead(read_recording(recording), _MOST_READ)):
        yield from given(stream.push((index, frame), frame.picture))
    yield from given(stream.finish())
