"""Smoothing of an endless stream of frame scores, with what is known so far."""

from __future__ import annotations

from collections import deque

import numpy as np

from utils.scoring import Smoothing


class CausalSmoother:
    """Median of the last frames, as ``utils.scoring.causal_median`` gives it, frame by frame.

    Args:
        smoothing: ``trim`` and ``size`` are used; a centred window becomes one of the same length
            that ends at the frame.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._trim = smoothing.trim
        self._recent: deque[float] = deque(maxlen=smoothing.size)
        self.restart()

    def restart(self) -> None:
        """Begin anew after a gap: the next ``trim`` frames have no full history."""
        self._left_out = self._trim
        self._recent.clear()

    def push(self, score: float) -> float | None:
        """Take a frame's score; give its smoothed score, ``None`` while history is filling."""
        if self._left_out:
            self._left_out -= 1
            return None
        self._recent.append(score)
        return float(np.median(self._recent))
