"""What is done to the frame scores of one video: trimming, a median in time, min-max."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.signal import medfilt


@dataclass(frozen=True)
class Smoothing:
    """What is done to the scores of each video by itself.

    Attributes:
        trim: frames dropped at the start, which have no full history.
        kind: ``median`` (centred, zeros beyond the ends, as ``scipy.signal.medfilt`` does),
            ``causal`` (median of the last ``size`` frames, fewer at the start) or ``none``.
        size: frames in the window; for ``median`` odd.
        min_max: afterwards stretch each video to [0, 1]. That uses the whole video's scores, so
            it hides which videos are abnormal; it is here to compare with papers that do it.
    """

    trim: int = 4
    kind: Literal["none", "median", "causal"] = "median"
    size: int = 17
    min_max: bool = False

    @classmethod
    def of(cls, settings: Any) -> Smoothing:
        """The smoothing that a configuration's ``eval`` block asks for."""
        return cls(trim=settings.trim, kind="median", size=settings.median)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """(T,) scores of a video -> (max(0, T - trim),) float64."""
        kept = np.asarray(scores, dtype=np.float64)[self.trim :]
        if not len(kept):
            return kept
        if self.kind == "median":
            kept = centred_median(kept, self.size)
        elif self.kind == "causal":
            kept = causal_median(kept, self.size)
        return min_max_normalise(kept) if self.min_max else kept

    def describe(self) -> str:
        """The smoothing in words."""
        words = {
            "none": "none",
            "median": f"median of {self.size} frames",
            "causal": f"median of the last {self.size} frames",
        }
        return "none" if self.size == 1 else words[self.kind]


def centred_median(scores: np.ndarray, size: int) -> np.ndarray:
    """Median filter of odd ``size`` with zeros beyond the ends, (T,) -> (T,)."""
    padded = np.pad(scores, size // 2)  # medfilt would warn about videos shorter than its window
    return medfilt(padded, size)[size // 2 : len(padded) - size // 2]


def causal_median(scores: np.ndarray, size: int) -> np.ndarray:
    """Median of each frame and up to ``size - 1`` frames before it, (T,) -> (T,)."""
    return np.array([np.median(scores[max(0, t + 1 - size) : t + 1]) for t in range(len(scores))])


def min_max_normalise(scores: np.ndarray) -> np.ndarray:
    """Map the smallest of (T,) to 0 and the largest to 1; constant scores become 0."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)


class CausalSmoother:
    """Median of the last ``size`` frames, like ``causal_median``, for an endless stream."""

    def __init__(self, size: int) -> None:
        self._recent: deque[float] = deque(maxlen=size)

    def restart(self) -> None:
        """Forget all scores."""
        self._recent.clear()

    def push(self, score: float) -> float:
        """Take a frame's score; give its smoothed score."""
        self._recent.append(score)
        return float(np.median(self._recent))
