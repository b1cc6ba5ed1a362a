"""Live frames: a thread reads a camera, drops what comes too late, and reconnects."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from utils.errors import UserError

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to reconnect
_SHORTEST = 16  # pixels of a picture's shorter side
_LONGEST = 16  # times the shorter side
_MOST_BYTES = 512 * 2**20  # of waiting frames, whatever the delay allowed


class Camera(Protocol):
    """What is read from; ``cv2.VideoCapture`` is one.

    A camera with a true attribute ``has_end`` is over when a read fails; others are reconnected.
    """

    def read(self) -> tuple[bool, np.ndarray | None]: ...

    def release(self) -> None: ...


@dataclass(frozen=True)
class LiveFrame:
    """A frame with its number, counted from the first one that the camera gave.

    Attributes:
        index: number of the frame, dropped ones counted.
        frame: (H,W,3) uint8 BGR.
        clock: wall-clock time of its arrival, seconds since the epoch.
        arrived: the same as ``time.monotonic()``.
        gap: ``""``, or why it does not follow on the frame before: ``dropped`` or ``reconnected``.
    """

    index: int
    frame: np.ndarray
    clock: float
    arrived: float
    gap: str = ""


class FrameBuffer:
    """Reads a camera in a thread of its own and keeps the frames until they are taken.

    As soon as the oldest frame has waited longer than ``max_delay``, all waiting frames are dropped
    at once: what is scored then is a run of true neighbours again, where dropping every other
    frame would double all motion.

    Args:
        open_camera: opens the camera; ``None`` where it cannot be opened. Called again to
            reconnect.
        name: for messages.
        max_delay: seconds; with ``inf`` nothing is dropped, and reading waits where it must.
        give_up_after: seconds without a frame after which reconnecting ends.
        fps: frames per second of the camera, as far as known.

    Raises:
        UserError: the camera cannot be opened at all.
    """

    def __init__(
        self,
        open_camera: Callable[[], Camera | None],
        name: str,
        max_delay: float = 2.0,
        give_up_after: float = 300.0,
        fps: float = 25.0,
    ) -> None:
        self.fps = fps
        self.captured = self.dropped = self.reconnected = 0
        self._open_camera = open_camera
        self._name = name
        self.max_delay = max_delay
        self._give_up_after = give_up_after
        self._waiting: deque[LiveFrame] = deque()
        self._gap = ""
        self._last_picture, self._pause = time.monotonic(), _FIRST_PAUSE
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._is_over = False
        self._failure: BaseException | None = None
        camera = open_camera()
        if camera is None:
            raise UserError(
                f"{name}: cannot be opened; check that it is connected, switched on, not in use by "
                "another program, and that number or address are right"
            )
        self._thread = threading.Thread(target=self._run, args=(camera,), daemon=True)
        self._thread.start()

    def take(self, most: int, timeout: float) -> list[LiveFrame] | None:
        """The oldest waiting frames, ``most`` at most.

        Waits for one up to ``timeout`` seconds, then gives an empty list; ``None`` when there will
        be no more.

        Raises:
            UserError: the camera stayed away for longer than ``give_up_after``.
        """
        with self._changed:
            self._drop_late(time.monotonic())
            self._changed.wait_for(lambda: self._waiting or self._is_over, timeout)
            if self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
                self._changed.notify_all()
                return taken
            if self._failure is not None:
                raise self._failure
            return None if self._is_over else []

    def close(self) -> None:
        """Stop reading; a read that hangs in a driver is left behind."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=2.0)

    def _run(self, camera: Camera) -> None:
        try:
            while not self._closing.is_set():
                grabbed, frame = camera.read()
                if grabbed and frame is not None:
                    self._keep(frame)
                elif getattr(camera, "has_end", False):
                    break
                else:
                    camera.release()
                    camera = self._reconnect()
        except _Closed:
            return
        except Exception as error:  # hand it to the thread that takes the frames
            self._failure = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
        camera.release()

    def _keep(self, frame: np.ndarray) -> None:
        now = self._last_picture = time.monotonic()
        self._pause = _FIRST_PAUSE
        most = max(8, _MOST_BYTES // frame.nbytes)
        with self._changed:
            if self.max_delay == math.inf:
                self._changed.wait_for(lambda: len(self._waiting) < most or self._closing.is_set())
            self._drop_late(now)
            if len(self._waiting) >= most:
                self._drop_waiting()
            live = LiveFrame(self.captured, frame, time.time(), now, self._gap)
            self._gap = ""
            self.captured += 1
            self._waiting.append(live)
            self._changed.notify_all()

    def _drop_late(self, now: float) -> None:
        if self._waiting and now - self._waiting[0].arrived > self.max_delay:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        gaps = {frame.gap for frame in self._waiting} | {self._gap}
        self._gap = "reconnected" if "reconnected" in gaps else "dropped"
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def _reconnect(self) -> Camera:
        logger.warning("%s: no picture; reconnecting", self._name)
        while time.monotonic() - self._last_picture < self._give_up_after:
            if self._closing.wait(self._pause):
                raise _Closed
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            camera = self._open_camera()
            if camera is not None:
                self._gap = "reconnected"
                self.reconnected += 1
                return camera
        raise UserError(
            f"{self._name}: gone for {self._give_up_after:.0f} s, given up; all results so far are "
            "kept. Mend it and start again, or allow more with --give_up_after SECONDS"
        )


class _Closed(Exception):
    """The reader was closed while it was reconnecting."""


def is_plausible(picture: np.ndarray) -> bool:
    """Whether it is no damage that looks like a picture, too small or too long to be one."""
    short, long = sorted(picture.shape[:2])
    return short >= _SHORTEST and long <= _LONGEST * short
