"""Region- and track-based detection criteria (RBDC, TBDC): is the anomaly detected where it is?

Definitions of Ramachandra and Jones, "Street Scene: A new dataset and evaluation protocol for video
anomaly detection" (WACV 2020, arXiv 1902.05872), §5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from utils.errors import UserError

OVERLAP = 0.1  # beta: intersection over union at which a region counts as detected
TRACK_SHARE = 0.1  # alpha: share of a track's regions that must be detected


class Regions(NamedTuple):
    """Boxes in frames.

    Attributes:
        frame: (n,) int, a number that is unique over all videos.
        boxes: (n,4) float, x1,y1,x2,y2 in pixels.
        value: (n,), the score of a detected region, or the track of a true one (a number that is
            unique over all videos).
    """

    frame: np.ndarray
    boxes: np.ndarray
    value: np.ndarray


class RegionMetrics(NamedTuple):
    """``rbdc`` and ``tbdc`` in [0, 1]; NaN without any true region."""

    rbdc: float
    tbdc: float
    num_regions: int
    num_tracks: int


def true_regions(rows: Iterable[Any], videos: Sequence[str], num_frames: Sequence[int]) -> Regions:
    """Labelled regions with frames and tracks numbered over all videos.

    Args:
        rows: objects with ``video``, ``frame``, ``track``, ``x1``, ``y1``, ``x2``, ``y2``; those of
            videos that are not in ``videos`` are left out.
        videos, num_frames: names and lengths of the videos, in the order of their numbering.

    Raises:
        UserError: a frame beyond the end of its video.
    """
    numbers = {name: number for number, name in enumerate(videos)}
    starts = np.cumsum([0, *num_frames])
    kept = [row for row in rows if row.video in numbers]
    for row in kept:
        if row.frame >= num_frames[numbers[row.video]]:
            raise UserError(
                f"regions.csv: video {row.video!r} has a region in frame {row.frame}, but only "
                f"{num_frames[numbers[row.video]]} frames; prepare the regions again"
            )
    tracks = {(row.video, row.track): number for number, row in enumerate(kept)}
    boxes = [(row.x1, row.y1, row.x2, row.y2) for row in kept]
    return Regions(
        np.array([starts[numbers[row.video]] + row.frame for row in kept], dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array([tracks[row.video, row.track] for row in kept], dtype=np.int64),
    )


def region_metrics(detected: Regions, true: Regions, num_frames: int) -> RegionMetrics:
    """Areas under the region- and track-based detection curves.

    At a threshold the regions at or above it are the detected ones. A true region counts when a
    detected region of its frame overlaps it by at least ``OVERLAP``; a track counts when at least
    ``TRACK_SHARE`` of its regions are; a detected region that overlaps no true one by that much is
    a false positive. The curves run over false positives per frame; their areas are taken from 0 to
    1, linear between points and constant beyond the last one.

    Args:
        detected: regions with scores.
        true: labelled regions with tracks.
        num_frames: frames in all test videos.
    """
    if not len(true.frame):
        return RegionMetrics(math.nan, math.nan, 0, 0)
    false_scores, region_scores = _match(detected, true)
    track_scores = _track_scores(region_scores, true.value)
    return RegionMetrics(
        _area(region_scores, false_scores, num_frames),
        _area(track_scores, false_scores, num_frames),
        len(region_scores),
        len(track_scores),
    )


def box_overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of (n,4) and (m,4) boxes -> (n,m)."""
    corner_low = np.maximum(first[:, None, :2], second[None, :, :2])
    corner_high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(corner_high - corner_low, 0, None).prod(axis=2)
    union = _areas(first)[:, None] + _areas(second)[None] - common
    return np.divide(common, union, out=np.zeros_like(common, dtype=float), where=union > 0)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _match(detected: Regions, true: Regions) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the false positives, and the threshold up to which each true region is detected."""
    is_false = np.ones(len(detected.frame), dtype=bool)
    detected_up_to = np.full(len(true.frame), -np.inf)
    detected_in, true_in = _rows_by_frame(detected.frame), _rows_by_frame(true.frame)
    for frame in detected_in.keys() & true_in.keys():
        here, there = detected_in[frame], true_in[frame]
        hits = box_overlaps(detected.boxes[here], true.boxes[there]) >= OVERLAP
        is_false[here] = ~hits.any(axis=1)
        scores = np.where(hits, detected.value[here][:, None], -np.inf)
        detected_up_to[there] = scores.max(axis=0)
    return detected.value[is_false], detected_up_to


def _rows_by_frame(frame: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(frame, kind="stable")
    frames, starts = np.unique(frame[order], return_index=True)
    return (
        dict(zip(frames.tolist(), np.split(order, starts[1:]), strict=True)) if len(frame) else {}
    )


def _track_scores(region_scores: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Per track the threshold up to which enough of its regions are detected."""
    scores = []
    for track in np.unique(tracks):
        ordered = np.sort(region_scores[tracks == track])[::-1]
        needed = math.ceil(TRACK_SHARE * len(ordered) - 1e-9)  # 0.1 * 30 is a little above 3
        scores.append(ordered[needed - 1])
    return np.array(scores)


def _area(detected_up_to: np.ndarray, false_scores: np.ndarray, num_frames: int) -> float:
    """Area from 0 to 1 false positives a frame under the share of detected ones."""
    from sklearn.metrics import auc  # see evaluation.metrics

    thresholds = np.unique(np.concatenate([detected_up_to, false_scores]))[::-1]
    thresholds = thresholds[np.isfinite(thresholds)]
    rate = _count_from(false_scores, thresholds) / num_frames
    share = _count_from(detected_up_to, thresholds) / len(detected_up_to)
    rate, share = np.append(0.0, rate), np.append(0.0, share)
    inside = int(np.searchsorted(rate, 1.0))  # the first point at or beyond 1
    last = share[-1]
    if inside < len(rate):
        last = np.interp(1.0, rate[inside - 1 : inside + 1], share[inside - 1 : inside + 1])
    return float(auc(np.append(rate[:inside], 1.0), np.append(share[:inside], last)))


def _count_from(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many values are at or above each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds, "left")
