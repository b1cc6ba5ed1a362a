"""Whole videos scored by FRD-UVAD: scores, alarms, clips, annotated videos, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets.manifest import VideoEntry
from datasets.video_files import TimedFrame
from engine.frd.diagnosis import report_facts
from evaluation.alarms import AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.evaluate import Evaluation
from evaluation.frd import SnippetScores, evaluate_snippets
from inference.faults import take_readable
from inference.fitting import Recording, UnreadableVideo, read_recording
from inference.frd.predictor import SnippetPredictor
from inference.frd.stream import SnippetStream, Values
from inference.job import Job
from inference.results.kept_pictures import PictureKeeper
from inference.single_pass import ScoredFrame
from inference.video_cubes import ResultCollector, VideoResult
from pre_process.cubes.extractor import FrameCubes
from pre_process.features.build import Backbone
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

    def evaluate(self, results: Sequence[VideoResult]) -> tuple[Evaluation, dict[str, np.ndarray]]:
        """Scores of videos, without labels, and what their snippets are scored by."""
        each, predictor = self.predictor.config.data.frames_per_snippet, self.predictor
        lengths = [max(1, len(result.seconds) // each) for result in results]
        values = {
            name: np.concatenate(
                [r.errors[name][::each][:n] for r, n in zip(results, lengths, strict=True)]
            )
            for name in results[0].errors
        }
        evaluation = evaluate_snippets(
            SnippetScores([result.name for result in results], lengths, values),
            None,
            predictor.path,
            predictor.checkpoint,
            predictor.config,
            [len(result.seconds) for result in results],
        )
        return replace(evaluation, threshold=self.threshold), values


def score_snippet_videos(
    predictor: SnippetPredictor,
    recordings: Sequence[Recording],
    threshold_spec: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
    faults: list[str] | None = None,
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
        backbone_of: gives the features of a video; ``None``: they are made.

    Raises:
        UserError: a rate of false alarms, for which there is no normal video to count on, or a
            feature backend without weights or of another size than the network reads.
    """
    threshold = predictor.threshold(threshold_spec)
    rule = AlarmRule.of(threshold, predictor.config.alarms)
    backbone_of = backbone_of or _same_for_all(predictor.backbone())
    job = _SnippetJob(predictor, threshold, rule, output, with_video, backbone_of)
    scored = _score_all(job, recordings, faults)
    evaluation, values = job.evaluate([result for _, result in scored])
    facts = report_facts(predictor.checkpoint, values)
    job.publish(title, scored, evaluation, facts, explains_cubes=False)


def _same_for_all(backbone: Backbone) -> BackboneOf:
    return lambda _: backbone


def _score_all(
    job: _SnippetJob, recordings: Sequence[Recording], faults: list[str] | None
) -> list[tuple[Recording, VideoResult]]:
    total = sum(each.entry.num_frames for each in recordings)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:

        def score(recording: Recording) -> tuple[Recording, VideoResult]:
            return recording, _score_one(job, recording, bar.update)

        return take_readable(recordings, score, faults, UnreadableVideo)


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
