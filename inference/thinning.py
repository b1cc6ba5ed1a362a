"""Which frames of a video of a higher rate than the training videos' are scored."""

from __future__ import annotations

import math

_EARLY = 0.25  # of the time from frame to frame that a frame may come too early: times are rounded


class Thinning:
    """Chooses frames by the times at which they are shown, ``step`` times as far apart as they are.

    Where they come at uneven intervals, frames that are far enough apart are all kept.

    Args:
        fps: frames per second of the video, on average.
        step: frames of it to one that is kept, at least 1, not necessarily whole; 1: all are.
    """

    def __init__(self, fps: float, step: float) -> None:
        self._interval, self._is_off = 1 / fps, step == 1
        self._apart = step / fps
        self._count, self._due, self._last = 0, -math.inf, -math.inf

    def keeps(self, seconds: float) -> bool:
        """Whether the next frame is kept.

        Args:
            seconds: when it is shown, from any origin; NaN: not known, so frames are counted.
        """
        if math.isnan(seconds):
            seconds = self._count * self._interval
        self._count += 1
        has_jumped_back = seconds < self._last  # a stream whose clock began anew
        self._last = seconds
        if self._is_off:
            return True
        if not has_jumped_back and seconds < self._due - _EARLY * self._interval:
            return False
        # In even steps from the first frame on, as long as frames are there when one is due.
        is_late = has_jumped_back or seconds - self._due >= self._interval
        self._due = (seconds if is_late else self._due) + self._apart
        return True
