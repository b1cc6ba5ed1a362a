"""Live frames: a thread reads a camera, drops what comes too late, and reconnects."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from utils.errors import UserError
from utils.threads.hand_over import HandOver

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to reconnect
_SHORTEST = 16  # pixels of a picture's shorter side
_LONGEST = 16  # times the shorter side
_MOST_BYTES = 512 * 2**20  # of waiting frames, whatever the delay allowed


class Camera(Protocol):
    """What is read from; ``cv2.VideoCapture`` is one.

    A camera with a true attribute ``has_end`` is over when a read fails; others are reconnected.
    One with an attribute ``gap`` says after a read why its picture does not follow on the last one.
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
    frame would double all motion. A picture of another size than the one before is a new scene.

    Attributes:
        captured, dropped: frames; reconnected: how often; lost: gaps inside the stream itself.

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
        self.captured = self.dropped = self.reconnected = self.lost = 0
        self._open_camera = open_camera
        self._name = name
        self.max_delay = max_delay
        self._give_up_after = give_up_after
        self._frames: HandOver[LiveFrame] = HandOver()
        self._gap = ""
        self._shape: tuple[int, ...] | None = None
        self._last_picture, self._pause = time.monotonic(), _FIRST_PAUSE
        self._closing = threading.Event()
        camera = open_camera()
        if camera is None:
            raise UserError(
                f"{name}: cannot be opened; check that it is connected, switched on, not in use by "
                "another program, and that number or address are right"
            )
        self._thread = threading.Thread(target=self._run, args=(camera,), daemon=True)
        self._thread.start()

    def take(self, most: int, timeout: float) -> list[LiveFrame] | None:
        """The oldest waiting frames that are not too late; see ``HandOver.take``.

        Raises:
            UserError: the camera stayed away for longer than ``give_up_after``.
        """
        with self._frames.lock:
            self._drop_late(time.monotonic())
            return self._frames.take(most, timeout)

    def close(self) -> None:
        """Stop reading; a read that hangs in a driver is left behind."""
        self._closing.set()
        self._frames.close()
        self._thread.join(timeout=2.0)

    def _run(self, camera: Camera) -> None:
        failure: Exception | None = None
        try:
            while not self._closing.is_set():
                grabbed, frame = camera.read()
                if grabbed and frame is not None:
                    self._keep(frame, getattr(camera, "gap", ""))
                elif getattr(camera, "has_end", False):
                    break
                else:
                    camera.release()
                    camera = self._reconnect()
        except _Closed:
            return
        except Exception as error:  # hand it to the thread that takes the frames
            failure = error
        finally:
            self._frames.end(failure)
        camera.release()

    def _keep(self, frame: np.ndarray, gap: str) -> None:
        now = self._last_picture = time.monotonic()
        self._pause = _FIRST_PAUSE
        most = max(8, _MOST_BYTES // frame.nbytes)
        with self._frames.lock:
            if self.max_delay == math.inf:
                self._frames.wait_for_place(most)
            self._drop_late(now)
            if len(self._frames.waiting) >= most:
                self._drop_waiting()
            self.lost += bool(gap)
            is_resized = self._shape not in (None, frame.shape)
            gap = _gravest(self._gap, gap, "reconnected" if is_resized else "")
            self._gap, self._shape = "", frame.shape
            self._frames.give([LiveFrame(self.captured, frame, time.time(), now, gap)])
            self.captured += 1

    def _drop_late(self, now: float) -> None:
        waiting = self._frames.waiting
        if waiting and now - waiting[0].arrived > self.max_delay:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        waiting = self._frames.waiting
        self._gap = _gravest("dropped", self._gap, *(frame.gap for frame in waiting))
        self.dropped += len(waiting)
        waiting.clear()

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


def _gravest(*gaps: str) -> str:
    """Of reasons why a frame does not follow on the one before."""
    return next((each for each in ("reconnected", "dropped") if each in gaps), "")


def is_plausible(picture: np.ndarray) -> bool:
    """Whether it is no damage that looks like a picture, too small or too long to be one."""
    short, long = sorted(picture.shape[:2])
    return short >= _SHORTEST and long <= _LONGEST * short
