"""How fast and how late a live run is, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_MOST = 10_000  # latencies remembered
_LATELY = 250  # frames


class Pace(NamedTuple):
    """Frames scored a second, and latency from a frame's arrival to its score in milliseconds."""

    fps: float
    p50: float
    p99: float


class LatencyMeter:
    """Counts frames and remembers the last latencies.

    Args:
        clock: seconds, monotonic; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.frames = 0
        self._clock = clock
        self._started = self._marked = clock()
        self._frames_at_mark = 0
        self._latencies: deque[float] = deque(maxlen=_MOST)
        self._since_mark: deque[float] = deque(maxlen=_MOST)
        self._lately: deque[tuple[float, float]] = deque([(self._started, 0.0)], _LATELY)

    def add(self, arrived: float) -> None:
        """Count a frame that arrived at that time and is scored now."""
        now = self._clock()
        latency = now - arrived
        self._lately.append((now, latency))
        self.frames += 1
        self._latencies.append(latency)
        self._since_mark.append(latency)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return self._clock() - self._started

    def since_mark(self) -> Pace:
        """The pace since the last call of this, and a new mark."""
        now = self._clock()
        pace = _pace(self.frames - self._frames_at_mark, now - self._marked, self._since_mark)
        self._marked, self._frames_at_mark = now, self.frames
        self._since_mark.clear()
        return pace

    def lately(self) -> Pace:
        """The pace of the last frames; it falls while none come."""
        times, latencies = zip(*self._lately, strict=True)
        return _pace(len(times) - 1, self._clock() - times[0], latencies[1:])

    def overall(self) -> Pace:
        """The pace of the whole run; latencies of its last 10,000 frames."""
        return _pace(self.frames, self.seconds, self._latencies)


def _pace(frames: int, seconds: float, latencies: Sequence[float]) -> Pace:
    p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (0.0, 0.0)
    return Pace(frames / max(seconds, 1e-9), 1000 * float(p50), 1000 * float(p99))
