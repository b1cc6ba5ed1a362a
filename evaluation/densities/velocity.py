"""Velocity of a cube: a histogram of its flow's directions (AI-VAD, arXiv 2212.00789, §3.3)."""

from __future__ import annotations

import numpy as np

BINS = 8  # directions, each 45 degrees wide; the first is centred on leftwards


def velocity_features(motion: np.ndarray) -> np.ndarray:
    """Mean flow in each direction, of the last flow of each cube.

    Args:
        motion: (n,T,h,w,2) float, pixels.

    Returns:
        (n, ``BINS``) float32, pixels: the sum of the magnitudes of the vectors that point in a
        direction, divided by the number of all vectors.
    """
    flow = motion[:, -1].astype(np.float32)
    magnitude = np.hypot(flow[..., 0], flow[..., 1])
    turns = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) + 0.5
    direction = np.floor(turns * BINS + 0.5).astype(int) % BINS
    cube = np.arange(len(flow))[:, None, None] * BINS
    flat = (cube + direction).ravel()
    sums = np.bincount(flat, magnitude.ravel(), minlength=len(flow) * BINS)
    return (
        (sums / max(flow[0].size // 2, 1) if len(flow) else sums)
        .reshape(-1, BINS)
        .astype(np.float32)
    )
