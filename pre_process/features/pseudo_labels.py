"""C2FPL's pseudo labels (arXiv 2310.17650 §3): videos into two bags, then a window a video.

Both stages see only n_t, the squared norm of each snippet's feature, averaged over its crops.
"""

from __future__ import annotations

import logging

import numpy as np
from sklearn.mixture import GaussianMixture

from datasets.features.dataset import FeatureSet
from utils.errors import UserError

logger = logging.getLogger(__name__)
RULES = ("log_p_differences", "p_differences", "lowest_log_p")


def snippet_norms(features: FeatureSet) -> np.ndarray:
    """n_t of every snippet: (N,) float64, the mean over crops of the squared feature norm."""
    norms = np.empty(len(features))
    for start, rows in features.chunks():
        norms[start : start + len(rows)] = np.square(rows, dtype=np.float64).sum(2).mean(1)
    return norms


def video_statistics(norms: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean and sample variance of n_t in each video: (V, 2); variance 0 for a single snippet."""
    rows = []
    for video in np.split(norms, starts[1:-1]):
        rows.append((video.mean(), video.var(ddof=1) if len(video) > 1 else 0.0))
    return np.array(rows)


def coarse_labels(
    statistics: np.ndarray, bag_ratio: float = 1.0, moved_share: float = 0.03
) -> np.ndarray:
    """Split videos into a normal and an abnormal bag (C2FPL §3.2).

    A two-component mixture splits them; the abnormal bag is the one with the larger mean variance
    (the published code takes component 1, which is arbitrary). Then the least likely normal videos
    move over, a few a round.

    Args:
        statistics: (V, 2) mean and variance of n_t.
        bag_ratio: abnormal to normal videos, at which moving stops.
        moved_share: of the normal bag, moved in a round.

    Returns:
        (V,) bool, true in the abnormal bag.

    Raises:
        UserError: fewer than two videos.
    """
    if len(statistics) < 2:
        raise UserError(
            f"pseudo labels: {len(statistics)} training video(s), but the mixture that splits "
            "them needs 2 or more; add videos to the training features"
        )
    component = _mixture(statistics).fit_predict(statistics)
    variances = [statistics[component == k, 1].mean() for k in np.unique(component)]
    abnormal = component == np.unique(component)[int(np.argmax(variances))]
    if abnormal.all():
        abnormal = np.zeros(len(statistics), bool)
    while abnormal.sum() < bag_ratio * (~abnormal).sum() and (~abnormal).sum() >= 2:
        normal = np.flatnonzero(~abnormal)
        fitted = _mixture(statistics[normal]).fit(statistics[normal])
        likelihood = fitted.score_samples(statistics[normal])
        moved = normal[likelihood < np.percentile(likelihood, 100 * moved_share)]
        if not len(moved):
            break
        abnormal[moved] = True
    return abnormal


def _mixture(statistics: np.ndarray) -> GaussianMixture:
    if len(np.unique(statistics, axis=0)) < 2:
        raise UserError(
            "pseudo labels: all videos have the same feature norms, so none stands out; "
            "check the training features"
        )
    return GaussianMixture(2, covariance_type="spherical", max_iter=150, random_state=0)


def fine_labels(
    norms: np.ndarray,
    starts: np.ndarray,
    abnormal: np.ndarray,
    window_share: float = 0.2,
    rule: str = "log_p_differences",
) -> np.ndarray:
    """Mark one window of snippets in each video of the abnormal bag (C2FPL §3.3).

    p_t is the density of n_t under a Gaussian of all snippets of the normal bag. The published rule
    (``p_differences``) takes the window in which p changes most; it misses strong anomalies, where
    p is flat at 0, so changes of log p are the default; ``lowest_log_p`` takes the least likely.

    Args:
        norms: (N,) n_t.
        starts: (V + 1,) first snippet of each video, the total last.
        abnormal: (V,) bool, the coarse labels.
        window_share: window length as a share of the video's snippets.
        rule: one of ``RULES``.

    Returns:
        (N,) uint8. A video too short for a window keeps zeros.

    Raises:
        UserError: no video in the normal bag, or its snippets are all alike.
    """
    labels = np.zeros(len(norms), np.uint8)
    log_p = _log_density(norms, norms[np.repeat(~abnormal, np.diff(starts))])
    for video in np.flatnonzero(abnormal):
        first, last = int(starts[video]), int(starts[video + 1])
        length = int(window_share * (last - first))
        start = _window(log_p[first:last], length, rule)
        if start is not None:
            labels[first + start : first + start + length] = 1
    return labels


def _log_density(norms: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Log density of each n_t under a Gaussian fitted to those of the normal bag."""
    variance = normal.var() if len(normal) else 0.0
    if variance == 0:
        raise UserError(
            "pseudo labels: the normal bag is empty or its snippets are all alike; "
            "check the training features"
        )
    return -0.5 * ((norms - normal.mean()) ** 2 / variance + np.log(2 * np.pi * variance))


def _window(log_p: np.ndarray, length: int, rule: str) -> int | None:
    """Start of the chosen window of ``length`` snippets; ``None``: too short to have one."""
    if rule == "lowest_log_p":
        return int(np.argmax(_window_sums(-log_p, length))) if length else None
    if length < 2:
        return None  # a window of one snippet holds no difference
    values = log_p if rule == "log_p_differences" else np.exp(log_p)
    return int(np.argmax(_window_sums(np.abs(np.diff(values)), length - 1)))


def _window_sums(values: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, length).sum(axis=1)
