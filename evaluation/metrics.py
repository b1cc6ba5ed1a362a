"""Frame-level metrics, as pure functions of scores and labels.

Scores are higher for more abnormal frames; labels are 0 (normal) or 1 (abnormal). A metric that
the labels leave undefined (one class only) is NaN. A frame raises an alarm when its score is at or
above the threshold.

scikit-learn is imported where it is called: it takes a second, and only what has labels needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Videos = Sequence[np.ndarray]  # one (T,) array a video
_SHORTEST_FOR_A_RATE = 600.0  # seconds


def has_both_classes(labels: np.ndarray) -> bool:
    """Whether there are normal and abnormal frames."""
    return bool(np.any(labels == 0) and np.any(labels == 1))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the chance that an abnormal frame outscores a normal one."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores)) if has_both_classes(labels) else math.nan


def micro_auc(scores: Videos, labels: Videos) -> float:
    """AUC over the frames of all videos together, the number that papers print."""
    return auc(np.concatenate(scores), np.concatenate(labels))


class MacroAUC(NamedTuple):
    """Mean AUC of single videos, and how many videos it is over."""

    value: float
    num_videos: int
    num_left_out: int


def macro_auc(scores: Videos, labels: Videos) -> MacroAUC:
    """Mean over videos of each video's own AUC.

    Convention: a video of one class only has no AUC and is left out (others add one made-up frame
    of each class to every video, which gives higher numbers).
    """
    each = [auc(s, y) for s, y in zip(scores, labels, strict=True)]
    defined = [value for value in each if not math.isnan(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    return MacroAUC(mean, len(defined), len(each) - len(defined))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Average precision: the sum over thresholds of (recall step) x precision."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores)) if has_both_classes(labels) else math.nan


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """Rate at which false alarms and misses are equally frequent, linear between ROC points."""
    from sklearn.metrics import roc_curve

    if not has_both_classes(labels):
        return math.nan
    false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    gap = false_rate + true_rate - 1  # (false alarms) - (misses), rising along the curve
    return float(np.interp(0.0, gap, false_rate))


class BestF1(NamedTuple):
    """Largest F1 and the threshold that gives it."""

    value: float
    threshold: float


def best_f1(scores: np.ndarray, labels: np.ndarray) -> BestF1:
    """Largest F1 over all thresholds; among equals the lowest threshold. It looks at the labels."""
    from sklearn.metrics import precision_recall_curve

    if not has_both_classes(labels):
        return BestF1(math.nan, math.nan)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)[:-1]
    best = int(np.argmax(f1))
    return BestF1(float(f1[best]), float(thresholds[best]))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Maximal runs of true values in (T,) as (start, stop), stop exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def abnormal_videos(scores: Videos, labels: Videos) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of the videos that hold an abnormal frame, each joined to one array."""
    kept = [(s, y) for s, y in zip(scores, labels, strict=True) if np.any(y == 1)]
    if not kept:
        return np.empty(0), np.empty(0, np.uint8)
    return np.concatenate([s for s, _ in kept]), np.concatenate([y for _, y in kept])


def false_alarm_rate(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Share of the normal frames that are in alarm; NaN without any."""
    normal = scores[labels == 0]
    return float((normal >= threshold).mean()) if len(normal) else math.nan


def per_hour(count: int, seconds: float) -> float:
    """A rate per hour; NaN where fewer than ten minutes were watched, which cannot tell one.

    One alarm in a short clip would be "a thousand an hour".
    """
    return math.nan if seconds < _SHORTEST_FOR_A_RATE else count * 3600.0 / seconds


@dataclass(frozen=True)
class FalseAlarms:
    """False alarms: their number, per hour of normal video, normal frames in alarm per 1000.

    ``seconds`` of normal video were there.
    """

    count: int
    per_hour: float
    frames_per_thousand: float
    seconds: float


def false_alarms(scores: Videos, labels: Videos, threshold: float, fps: float) -> FalseAlarms:
    """False alarms at a threshold.

    One false alarm is an unbroken run of alarm frames in which no frame is abnormal. The rate is
    over the time of the normal frames, so that it can be compared with calibration on normal video.

    Args:
        fps: frames per second of the videos.
    """
    count = normal = in_alarm = 0
    for video_scores, video_labels in zip(scores, labels, strict=True):
        alarm, abnormal = video_scores >= threshold, video_labels == 1
        count += sum(not abnormal[start:stop].any() for start, stop in runs(alarm))
        normal += int((~abnormal).sum())
        in_alarm += int((alarm & ~abnormal).sum())
    if not normal:
        return FalseAlarms(count, math.nan, math.nan, 0.0)
    seconds = normal / fps
    return FalseAlarms(count, per_hour(count, seconds), 1000.0 * in_alarm / normal, seconds)


class Detections(NamedTuple):
    """Abnormal intervals detected, and how long after their start (seconds) the alarm came."""

    num_events: int
    num_detected: int
    mean_delay: float
    median_delay: float


def detection_delays(scores: Videos, labels: Videos, threshold: float, fps: float) -> Detections:
    """How soon each labelled interval raises an alarm.

    An interval is detected when one of its frames is in alarm; its delay runs from its first frame
    to that frame. Intervals never detected count in ``num_events`` only.
    """
    delays, events = [], 0
    for video_scores, video_labels in zip(scores, labels, strict=True):
        for start, stop in runs(video_labels == 1):
            events += 1
            alarms = np.flatnonzero(video_scores[start:stop] >= threshold)
            if len(alarms):
                delays.append(int(alarms[0]) / fps)
    if not delays:
        return Detections(events, 0, math.nan, math.nan)
    return Detections(events, len(delays), float(np.mean(delays)), float(np.median(delays)))


def bootstrap_micro_auc(
    scores: Videos, labels: Videos, repeats: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the micro AUC when whole videos are drawn with replacement.

    Frames of a video are far from independent, so videos are what is drawn. Draws of one class only
    are left out.

    Returns:
        (low, high) at confidence ``level``; NaN when no draw has both classes, and of one video,
        which can be drawn in one way only.
    """
    if len(scores) < 2:
        return math.nan, math.nan
    wins, abnormal, normal = _pairwise_wins(scores, labels)
    generator = np.random.default_rng(seed)
    num_videos = len(scores)
    draws = generator.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=repeats)
    pairs = (draws @ abnormal) * (draws @ normal)
    won = np.einsum("ri,ij,rj->r", draws, wins, draws, optimize=True)
    values = won[pairs > 0] / pairs[pairs > 0]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pairwise_wins(scores: Videos, labels: Videos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often abnormal frames of video i outscore normal ones of video j (a tie is a half).

    A micro AUC of any draw of videos is a sum over this (V,V) matrix, so a draw needs no sorting.
    """
    abnormal = [s[y == 1] for s, y in zip(scores, labels, strict=True)]
    normal = [np.sort(s[y == 0]) for s, y in zip(scores, labels, strict=True)]
    counts = np.array([len(values) for values in abnormal])
    owner = np.repeat(np.arange(len(abnormal)), counts)
    joined = np.concatenate(abnormal)
    columns = []
    for values in normal:
        below = np.searchsorted(values, joined, "left") + np.searchsorted(values, joined, "right")
        columns.append(np.bincount(owner, weights=below / 2, minlength=len(abnormal)))
    return np.stack(columns, axis=1), counts, np.array([len(values) for values in normal])
