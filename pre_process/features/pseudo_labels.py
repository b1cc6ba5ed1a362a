"""C2FPL's pseudo labels (arXiv 2310.17650 §3): videos into two bags, then a window a video.

Both stages see only n_t, one number a snippet. As published it is the squared norm of the feature
and both tails of its distribution are abnormal, so that videos of an empty scene are. Here it is by
default the squared distance to the mean feature and only its upper tail is abnormal: this assumes
that anomalies are rare and unlike the average, and not that they make features longer.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.special import log_ndtr, logsumexp
from sklearn.mixture import GaussianMixture

from datasets.features.dataset import FeatureSet
from utils.errors import UserError

logger = logging.getLogger(__name__)
RULES = ("lowest_log_survival", "log_p_differences", "p_differences", "lowest_log_p")


def snippet_norms(features: FeatureSet, mean: np.ndarray | None = None) -> np.ndarray:
    """n_t of every snippet: (N,) float64, the mean over crops of the squared feature norm.

    Args:
        features: the snippets.
        mean: (D,) what the features are centred by; ``None``: by nothing, as published.
    """
    norms = np.empty(len(features))
    for start, rows in features.chunks():
        centred = rows if mean is None else rows - mean
        norms[start : start + len(rows)] = np.square(centred, dtype=np.float64).sum(2).mean(1)
    return norms


def video_statistics(norms: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean and sample variance of n_t in each video: (V, 2); variance 0 for a single snippet."""
    rows = []
    for video in np.split(norms, starts[1:-1]):
        rows.append((video.mean(), video.var(ddof=1) if len(video) > 1 else 0.0))
    return np.array(rows)


def coarse_labels(
    statistics: np.ndarray, bag_ratio: float = 1.0, moved_share: float = 0.03, tail: str = "upper"
) -> np.ndarray:
    """Split videos into a normal and an abnormal bag (C2FPL §3.2).

    A two-component mixture splits them; the abnormal bag is the one with the larger mean variance
    (the published code takes component 1, which is arbitrary). Then the least likely normal videos
    move over, a few a round.

    Args:
        statistics: (V, 2) mean and variance of n_t.
        bag_ratio: abnormal to normal videos, at which moving stops.
        moved_share: of the normal bag, moved in a round.
        tail: ``upper``: the least likely to be surpassed in mean and variance move; ``both``, as
            published: the least likely, so those of small n_t as well.

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
        likelihood = _likelihood(fitted, statistics[normal], tail)
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


def _likelihood(mixture: GaussianMixture, statistics: np.ndarray, tail: str) -> np.ndarray:
    """(V,) log density of videos, or the log probability that another has more of both."""
    if tail == "both":
        return mixture.score_samples(statistics)
    deviations = np.sqrt(mixture.covariances_)[:, None]  # spherical: one a component
    standardised = (statistics[:, None] - mixture.means_) / deviations  # (V, components, 2)
    survival = log_ndtr(-standardised).sum(axis=2)
    return logsumexp(survival + np.log(mixture.weights_), axis=1)


def fine_labels(
    norms: np.ndarray,
    starts: np.ndarray,
    abnormal: np.ndarray,
    window_share: float = 0.2,
    rule: str = "lowest_log_survival",
) -> np.ndarray:
    """Mark one window of snippets in each video of the abnormal bag (C2FPL §3.3).

    p_t is the density of n_t under a Gaussian of all snippets of the normal bag. The published rule
    (``p_differences``) takes the window in which p changes most; it misses strong anomalies, where
    p is flat at 0; ``log_p_differences`` takes the changes of log p, ``lowest_log_p`` the least
    likely window. None of them tells large n_t from small, so the default is the window whose n_t
    are the least likely to be surpassed (``lowest_log_survival``).

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
    normal = norms[np.repeat(~abnormal, np.diff(starts))]
    log_p = (_log_survival if rule == "lowest_log_survival" else _log_density)(norms, normal)
    for video in np.flatnonzero(abnormal):
        first, last = int(starts[video]), int(starts[video + 1])
        length = int(window_share * (last - first))
        start = _window(log_p[first:last], length, rule)
        if start is not None:
            labels[first + start : first + start + length] = 1
    return labels


def _log_density(norms: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Log density of each n_t under a Gaussian fitted to those of the normal bag."""
    variance = _variance(normal)
    return -0.5 * ((norms - normal.mean()) ** 2 / variance + np.log(2 * np.pi * variance))


def _log_survival(norms: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Log probability under the same Gaussian of an n_t larger than each."""
    deviation = np.sqrt(_variance(normal))
    return log_ndtr((normal.mean() - norms) / deviation)


def _variance(normal: np.ndarray) -> float:
    variance = float(normal.var()) if len(normal) else 0.0
    if variance == 0:
        raise UserError(
            "pseudo labels: the normal bag is empty or its snippets are all alike; "
            "check the training features"
        )
    return variance


def _window(log_p: np.ndarray, length: int, rule: str) -> int | None:
    """Start of the chosen window of ``length`` snippets; ``None``: too short to have one."""
    if rule in ("lowest_log_p", "lowest_log_survival"):
        return int(np.argmax(_window_sums(-log_p, length))) if length else None
    if length < 2:
        return None  # a window of one snippet holds no difference
    values = log_p if rule == "log_p_differences" else np.exp(log_p)
    return int(np.argmax(_window_sums(np.abs(np.diff(values)), length - 1)))


def _window_sums(values: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, length).sum(axis=1)
