"""The highest scores over time of a run of any length, in bounded memory."""

from __future__ import annotations

import numpy as np

_MOST_BINS = 2048


class PeakCurve:
    """Keeps the highest score of each bin of frames; when all bins are full, pairs are joined.

    Args:
        most_bins: bins kept, an even number.
    """

    def __init__(self, most_bins: int = _MOST_BINS) -> None:
        self.frames_per_bin = 1
        self._bins = np.full(most_bins, np.nan)

    def add(self, frame: int, score: float) -> None:
        """Note the score of a frame; frames come in rising order, some may be missing."""
        while frame >= self.frames_per_bin * len(self._bins):
            joined = np.fmax(self._bins[::2], self._bins[1::2])
            self._bins = np.concatenate([joined, np.full(len(joined), np.nan)])
            self.frames_per_bin *= 2
        place = frame // self.frames_per_bin
        self._bins[place] = np.fmax(self._bins[place], score)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """First frames and highest scores, both (k,), of the bins up to the last one with a score.

        NaN where none of a bin's frames was scored: they were dropped, or a history filled.
        """
        known = np.flatnonzero(np.isfinite(self._bins))
        bins = np.arange(known[0], known[-1] + 1) if len(known) else known
        return bins * self.frames_per_bin, self._bins[bins]
