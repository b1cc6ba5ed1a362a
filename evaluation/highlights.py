"""Where in the videos to look first: score peaks, false alarms, missed anomalies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.metrics import auc, runs
from evaluation.smoothing import Smoothing


@dataclass(frozen=True)
class Highlight:
    """One frame to look at, and the cube in or near it with the highest score.

    Attributes:
        video: index of the video; frame: the cube's frame in it.
        peak: the frame where the smoothed score peaks.
        score: smoothed score at the peak.
        cube: index of the cube; ``None`` where no box was found near the peak.
        abnormal: label of the peak's frame; ``None`` without labels.
        start, stop: labelled interval or alarm that the highlight stands for (stop exclusive);
            both equal to the peak for a mere peak.
    """

    video: int
    frame: int
    peak: int
    score: float
    cube: int | None
    abnormal: bool | None
    start: int
    stop: int


def peak_distance(smoothing: Smoothing) -> int:
    """Frames on either side of a peak in which no other one is looked for."""
    return max(smoothing.size, 9)


def video_peaks(evaluation: Evaluation, video: int, count: int) -> list[Highlight]:
    """The highest peaks of a video, at least a smoothing window apart, highest first."""
    scores = evaluation.primary.scores[video].copy()
    reach = peak_distance(evaluation.smoothing)
    peaks: list[Highlight] = []
    while len(peaks) < count and len(scores) and np.isfinite(scores.max()):
        place = int(np.argmax(scores))
        peak = _highlight(evaluation, video, place, place, place)
        peaks += [peak] if peak.cube is not None else []
        scores[max(0, place - reach) : place + reach + 1] = -np.inf
    return peaks


def false_alarms(evaluation: Evaluation, count: int) -> list[Highlight]:
    """Alarms in which no frame is abnormal, highest first."""
    spans: list[_Span] = []
    for video, scores, labels, threshold in _labelled_videos(evaluation):
        for start, stop in runs(scores >= threshold):
            if not (labels[start:stop] == 1).any():
                spans.append(_span(video, scores, start, stop))
    spans.sort(key=lambda span: -span.score)
    return [_highlight(evaluation, *span[1:]) for span in spans[:count]]


def misses(evaluation: Evaluation, count: int) -> list[Highlight]:
    """Labelled intervals whose highest score stays under the threshold, lowest first."""
    missed: list[_Span] = []
    for video, scores, labels, threshold in _labelled_videos(evaluation):
        spans = [_span(video, scores, start, stop) for start, stop in runs(labels == 1)]
        missed += [span for span in spans if span.score < threshold]
    missed.sort(key=lambda span: span.score)
    return [_highlight(evaluation, *span[1:]) for span in missed[:count]]


def raised_alarms(evaluation: Evaluation, count: int) -> list[Highlight]:
    """The alarms of watched videos, highest first."""
    videos = {name: video for video, name in enumerate(evaluation.cubes.videos)}
    trim = evaluation.smoothing.trim
    highest = sorted(evaluation.raised, key=lambda alarm: -alarm["peak_score"])[:count]
    return [
        _highlight(
            evaluation, videos[alarm["video"]], alarm["peak_frame"] - trim,
            alarm["start_frame"] - trim, alarm["end_frame"] + 1 - trim,
        )
        for alarm in highest
    ]  # fmt: skip


def videos_worst_first(evaluation: Evaluation) -> list[int]:
    """Videos by falling share of misclassified frames; without labels by falling peak score.

    Videos that trimming leaves without a frame are not in the list.
    """
    scores = evaluation.primary.scores
    kept = [video for video, values in enumerate(scores) if len(values)]
    if evaluation.labels is None or evaluation.threshold is None:
        return sorted(kept, key=lambda video: -scores[video].max())
    return sorted(kept, key=lambda video: -error_rate(evaluation, video))


def error_rate(evaluation: Evaluation, video: int) -> float:
    """Share of a video's frames on the wrong side of the threshold."""
    if evaluation.labels is None or evaluation.threshold is None:
        return math.nan
    alarm = evaluation.primary.scores[video] >= evaluation.threshold.value
    return float((alarm != (evaluation.labels[video] == 1)).mean())


def video_auc(evaluation: Evaluation, video: int) -> float:
    """A video's own AUC; NaN when its frames are of one class."""
    if evaluation.labels is None:
        return math.nan
    return auc(evaluation.primary.scores[video], evaluation.labels[video])


class _Span(NamedTuple):
    """A run of frames of a video, counted after trimming, and the place of its highest score."""

    score: float
    video: int
    place: int
    start: int
    stop: int


def _span(video: int, scores: np.ndarray, start: int, stop: int) -> _Span:
    place = start + int(np.argmax(scores[start:stop]))
    return _Span(float(scores[place]), video, place, start, stop)


def _labelled_videos(
    evaluation: Evaluation,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, float]]:
    """Video, scores, labels, threshold; nothing where labels or threshold are missing."""
    if evaluation.labels is not None and evaluation.threshold is not None:
        pairs = zip(evaluation.primary.scores, evaluation.labels, strict=True)
        for video, (scores, labels) in enumerate(pairs):
            yield video, scores, labels, evaluation.threshold.value


def _highlight(evaluation: Evaluation, video: int, place: int, start: int, stop: int) -> Highlight:
    trim, labels = evaluation.smoothing.trim, evaluation.labels
    cube = _highest_cube(evaluation, video, place + trim)
    return Highlight(
        video=video,
        frame=place + trim if cube is None else int(evaluation.cubes.frames[cube]),
        peak=place + trim,
        score=float(evaluation.primary.scores[video][place]),
        cube=cube,
        abnormal=None if labels is None else bool(labels[video][place] == 1),
        start=start + trim,
        stop=stop + trim,
    )


def _highest_cube(evaluation: Evaluation, video: int, frame: int) -> int | None:
    """The cube with the highest score among those that the frame's smoothed score draws on."""
    cubes = evaluation.cubes
    near = np.abs(cubes.frames - frame) <= evaluation.smoothing.size // 2
    candidates = np.flatnonzero(near & (cubes.video_index == video))
    if not len(candidates):
        return None
    return int(candidates[np.argmax(evaluation.primary.cube_scores[candidates])])
