"""A camera's frames as they arrive: their rate by the clock, jumps in their times, their size."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from inference.fitting import Fitting
from inference.live.frame_buffer import is_plausible
from inference.thinning import Thinning

_SETTLING, _MEASURED = 1.0, 2.0  # seconds; a server first sends at once what it has kept
_FEWEST = 4  # pictures that tell a rate
_ALIKE = 0.1  # of it, that a camera's own clock may be off the true one
_REMEMBERED, _USUAL = 50, 90  # intervals; the percentile of them that counts as usual
_JUMP = 1.75  # usual intervals from one frame to the next where one is missing in between


def arrival_rate(
    camera: Any, settling: float = _SETTLING, measured: float = _MEASURED
) -> tuple[float, bool] | None:
    """Pictures a second by the clock; those read for it are gone.

    Args:
        camera: just opened, with ``read`` and, after it, ``seconds`` of the picture.
        settling: seconds that do not count.
        measured: seconds that are measured, about.

    Returns:
        The rate, and whether the times that the camera gives run as the clock does; ``None`` where
        it broke off or gave too few pictures.
    """
    began = time.monotonic()
    arrivals: list[tuple[float, float]] = []
    while not arrivals or arrivals[-1][0] - began < settling + measured:
        if not camera.read()[0]:
            return None
        arrivals.append((time.monotonic(), camera.seconds))
    counted = np.array([each for each in arrivals if each[0] - began >= settling])
    if len(counted) < _FEWEST:
        return None
    passed, declared = counted[-1] - counted[0]
    return (len(counted) - 1) / passed, bool(abs(declared - passed) <= _ALIKE * passed)


class Intervals:
    """Finds jumps in the times of frames: there frames were lost before they came here.

    A flow across such a gap would look like fast motion. What is usual is learnt from the frames
    before, so a camera whose intervals vary by nature has jumps only beyond its usual ones.
    """

    def __init__(self) -> None:
        self._last = math.nan
        self._known: deque[float] = deque(maxlen=_REMEMBERED)

    def is_jump(self, seconds: float) -> bool:
        """Whether frames are missing between the frame before and this one.

        Args:
            seconds: when it was taken, by the camera's clock, whose speed does not matter; NaN: not
                known.
        """
        passed, self._last = seconds - self._last, seconds
        if math.isnan(passed):
            return False
        usual = float(np.percentile(self._known, _USUAL)) if self._known else math.inf
        if passed > 0:
            self._known.append(passed)
        return passed < 0 or passed > _JUMP * max(usual, 1e-9)


class FittedCamera:
    """A camera whose pictures are made like the training videos' (``inference.fitting``).

    Args:
        camera: with ``read``, ``release`` and, after a read, ``seconds`` of the picture.
        fitting: what its pictures are made like; thinning: new, which of them are given.
        is_timed: the camera's times are those of the clock; else its frames are counted.
        say: called with width and height of each picture.
    """

    def __init__(
        self,
        camera: Any,
        fitting: Fitting,
        thinning: Thinning,
        is_timed: bool,
        say: Callable[[int, int], None],
    ) -> None:
        self._camera, self._fitting, self._say = camera, fitting, say
        self._thinning, self._is_timed, self._intervals = thinning, is_timed, Intervals()
        self.release = camera.release
        self.has_end = getattr(camera, "has_end", False)
        self.gap = ""

    def read(self) -> tuple[bool, np.ndarray | None]:
        """See ``cv2.VideoCapture.read``; ``gap`` is then that of the picture."""
        while (answer := self._camera.read())[0] and answer[1] is not None:
            picture, seconds = answer[1], self._camera.seconds
            is_kept = self._thinning.keeps(seconds if self._is_timed else math.nan)
            if is_kept and is_plausible(picture):
                self._say(picture.shape[1], picture.shape[0])
                # A file is scored as it is, also when it is played.
                is_gap = self._intervals.is_jump(seconds) and not self.has_end
                self.gap = "dropped" if is_gap else ""
                return True, self._fitting.picture(picture)
        return False, None
