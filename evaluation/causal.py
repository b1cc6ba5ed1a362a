"""Smoothing of an endless stream of frame scores, with what is known so far."""

from __future__ import annotations

from collections import deque

import numpy as np


class CausalSmoother:
    """Median of the last ``size`` frames, like ``evaluation.smoothing.causal_median``."""

    def __init__(self, size: int) -> None:
        self._recent: deque[float] = deque(maxlen=size)

    def restart(self) -> None:
        """Forget all scores."""
        self._recent.clear()

    def push(self, score: float) -> float:
        """Take a frame's score; give its smoothed score."""
        self._recent.append(score)
        return float(np.median(self._recent))
