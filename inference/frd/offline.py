"""Whole videos scored by FRD-UVAD: scores, alarms, clips, annotated videos, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets.manifest import VideoEntry
from engine.frd.diagnosis import report_facts
from evaluation.alarms import AlarmRule, AlarmTracker
from evaluation.calibration import Rate
from evaluation.checkpoint import origin
from evaluation.evaluate import Evaluation
from evaluation.frd import SnippetScores, evaluate_snippets
from inference.annotated import AnnotatedVideo
from inference.fitting import read_fitted
from inference.frd.predictor import SnippetPredictor
from inference.frd.stream import SnippetStream, Values
from inference.kept_pictures import KeptPictures
from inference.raised import with_alarms, write_alarms
from inference.single_pass import ScoredFrame
from pre_process.cubes.extractor import FrameCubes
from pre_process.cubes.settings import source_fingerprint
from pre_process.features.build import Backbone
from utils.console import echo
from utils.files import digest
from utils.threads.read_ahead import read_ahead
from visualization.gallery import choose_highlights
from visualization.publish import publish

# A frame is scored as a whole: it is drawn without boxes, and kept for the report like a cube.
_NO_CUBES = FrameCubes(0, *(np.zeros((0, 4), np.float32),) * 3)
_WHOLE = FrameCubes(0, *(np.zeros((1, 4), np.float32),) * 3)

_MOST_READ = 8  # frames decoded beside the features of those before
BackboneOf = Callable[[VideoEntry], Backbone]


@dataclass
class _Collected:
    """What all snippets are scored by, and how many each video has."""

    values: dict[str, list[float]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)

    def add(self, values: Values) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)
        self.lengths[-1] += 1

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.array(values) for name, values in self.values.items()}


def score_snippet_videos(
    predictor: SnippetPredictor,
    entries: Sequence[VideoEntry],
    rates: Sequence[float],
    threshold_spec: float | Rate | None,
    output: Path,
    title: str,
    with_video: bool = True,
    backbone_of: BackboneOf | None = None,
) -> None:
    """Score videos as ``frd_eval.py`` does, without labels, and write all results.

    Args:
        predictor: from ``load_snippet_predictor``.
        entries: the videos.
        rates: frames per second of each.
        threshold_spec: see ``SnippetPredictor.threshold``.
        output: folder of the results.
        title: heading of the report.
        with_video: also write the annotated videos.
        backbone_of: gives the features of a video; ``None``: they are made.

    Raises:
        UserError: a rate of false alarms, for which there is no normal video to count on, or a
            feature backend without weights or of another size than the network reads.
    """
    threshold = predictor.threshold(threshold_spec)
    backbone_of = backbone_of or _same_for_all(predictor.backbone())
    pictures = KeptPictures(predictor.smoothing, predictor.explain)
    collected, rule = _Collected(), AlarmRule.of(threshold, predictor.config.alarms)

    def annotated(entry: VideoEntry, fps: float) -> AnnotatedVideo:
        drawing, alarms = predictor.annotator(threshold), predictor.config.alarms
        return AnnotatedVideo(output, entry.name, fps, drawing, threshold, alarms, with_video)

    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc="scoring", unit="frame", file=sys.stderr, mininterval=1.0) as bar:
        for entry, fps in zip(entries, rates, strict=True):
            pictures.start()
            frames = _frames(predictor, entry, backbone_of(entry), collected)
            tracker = AlarmTracker(entry.name, rule, 1 / fps)
            with annotated(entry, fps) as drawing:
                for _ in _follow(frames, tracker, pictures, drawing, fps, bar.n):
                    bar.update(1)
            pictures.finish(entry.name)
    evaluation = replace(_evaluate(predictor, entries, collected), threshold=threshold)
    evaluation, stats = with_alarms(evaluation, rule, rates, output)
    highlights = pictures.shown(choose_highlights(evaluation))
    facts = _facts(predictor, entries, collected)
    publish(output, title, evaluation, facts, None, pictures.stills, highlights=highlights)
    write_alarms(output, evaluation, stats)
    if with_video:
        echo(f"annotated videos: {output / 'annotated'}")


def _same_for_all(backbone: Backbone) -> BackboneOf:
    return lambda _: backbone


def _frames(
    predictor: SnippetPredictor, entry: VideoEntry, backbone: Backbone, collected: _Collected
) -> Iterator[ScoredFrame]:
    """The frames of a video with their scores; ``collected`` gets its snippets."""
    collected.lengths.append(0)

    def score(features: np.ndarray) -> Values:
        values = predictor.values(features)
        collected.add(values)
        return values

    stream: SnippetStream[tuple[int, np.ndarray]] = SnippetStream(
        backbone, score, predictor.config.data.frames_per_snippet
    )
    for index, picture in enumerate(read_ahead(read_fitted(entry), _MOST_READ)):
        yield from map(_scored, stream.push((index, picture), picture))
    yield from map(_scored, stream.finish())


def _scored(given: tuple[tuple[int, np.ndarray], Values | None]) -> ScoredFrame:
    (index, picture), values = given
    assert values is not None  # no frame of a whole video is without
    score = values["score"]
    return ScoredFrame(index, picture, _NO_CUBES, {}, np.zeros(0), score)


def _follow(
    frames: Iterable[ScoredFrame], tracker: AlarmTracker, pictures: KeptPictures,
    drawing: AnnotatedVideo, fps: float, first: int,
) -> Iterator[int]:  # fmt: skip
    """Draw the frames and keep those for the report; gives the number of each.

    Args:
        first: frames of the videos before, by which the report numbers what it shows.
    """
    for frame in frames:
        events = tracker.push(frame.index, frame.score, frame.index / fps)
        as_cube = replace(frame, cubes=_WHOLE, cube_scores=np.array([frame.score]))
        pictures.push(as_cube, first + frame.index)
        pictures.consider(frame.index, frame.score, tracker.latest)
        drawing.draw(frame, frame.score, events)
        yield frame.index


def _evaluate(
    predictor: SnippetPredictor, entries: Sequence[VideoEntry], collected: _Collected
) -> Evaluation:
    return evaluate_snippets(
        SnippetScores([each.name for each in entries], collected.lengths, collected.arrays()),
        None,
        predictor.path,
        predictor.checkpoint,
        predictor.config,
        [entry.num_frames for entry in entries],
    )


def _facts(
    predictor: SnippetPredictor, entries: Sequence[VideoEntry], collected: _Collected
) -> dict[str, Any]:
    fingerprint = digest([source_fingerprint(entry) for entry in entries])
    where = entries[0].source.parent
    facts = origin(predictor.path, predictor.checkpoint, where, fingerprint)
    return facts | report_facts(predictor.checkpoint, collected.arrays())
