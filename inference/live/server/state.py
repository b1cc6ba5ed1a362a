"""What the page shows of a live run: the newest picture and numbers, put there frame by frame."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

_SECONDS = 600  # of the curve
_WIDEST, _QUALITY = 960, 80  # of the pictures sent


@dataclass(frozen=True)
class Status:
    """The numbers of a run.

    Attributes:
        name: of the camera; started: seconds since the epoch.
        threshold, threshold_source, expected: of alarms; ``None`` and empty without one.
        captured, scored, dropped, reconnections, gaps, alarms: counts since the start; gaps are
            those inside the stream itself.
        fps: frames scored a second, lately; camera_fps: as the camera tells.
        latency_p50_ms, latency_p99_ms: from a frame's arrival to its score, lately.
        in_alarm: whether an alarm is running.
    """

    name: str
    started: float = 0.0
    threshold: float | None = None
    threshold_source: str = ""
    expected: str = ""
    captured: int = 0
    scored: int = 0
    dropped: int = 0
    reconnections: int = 0
    gaps: int = 0
    alarms: int = 0
    fps: float = 0.0
    camera_fps: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    in_alarm: bool = False


class Encoded(NamedTuple):
    """A picture as JPEG, and its number, which rises from picture to picture."""

    number: int
    jpeg: bytes


class LiveState:
    """Handed from the thread that scores to the one that serves; neither waits for the other.

    Args:
        name: of the camera.
    """

    def __init__(self, name: str) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._status = Status(name)
        self._alarms: Sequence[Mapping[str, Any]] = ()
        self._picture: np.ndarray | None = None
        self._number = 0
        self._encoded: Encoded | None = None
        self._frame: tuple[int, float, float | None] | None = None
        self._curve: deque[tuple[float, float | None]] = deque(maxlen=2 * _SECONDS)

    def show(self, picture: np.ndarray, index: int, clock: float, score: float | None) -> None:
        """Put the next picture there, (H,W,3) uint8 BGR, not to be changed afterwards.

        Args:
            picture: as it is shown.
            index, clock: of the frame: its number, seconds since the epoch.
            score: smoothed, if it has one.
        """
        with self._lock:
            if self._frame is not None and index > self._frame[0] + 1:
                self._extend_curve(self._frame[1], None)
            self._picture, self._number = picture, self._number + 1
            self._frame = index, clock, score
            self._extend_curve(float(int(clock)), score)

    def _extend_curve(self, second: float, score: float | None) -> None:
        """The highest score of each second; ``None`` between two says that frames have none."""
        last, value = self._curve[-1] if self._curve else (None, None)
        if score is None:
            if value is not None:
                self._curve.append((second, None))
        elif last == second and value is not None:
            self._curve[-1] = second, max(value, score)
        else:
            self._curve.append((second, score))

    def publish(self, status: Status, alarms: Sequence[Mapping[str, Any]]) -> None:
        """Put numbers and the last alarms there, the running one last."""
        with self._lock:
            self._status, self._alarms = status, list(alarms)

    def status(self) -> Status:
        """The latest numbers."""
        with self._lock:
            return self._status

    def alarms(self) -> list[Mapping[str, Any]]:
        """The last alarms as they stand in ``alarms.json``, oldest first."""
        with self._lock:
            return list(self._alarms)

    def latest_frame(self) -> tuple[int, float, float | None] | None:
        """Number, time and score of the latest frame, if there was one."""
        with self._lock:
            return self._frame

    def as_json(self) -> dict[str, Any]:
        """All numbers, and the highest score of each of the last seconds, ``None`` at gaps."""
        with self._lock:
            index, clock, score = self._frame or (None, None, None)
            curve = [
                [second, None if value is None else round(value, 4)]
                for second, value in self._curve
            ]
            return asdict(self._status) | {
                "frame": index, "clock": clock, "score": score, "curve": curve,
            }  # fmt: skip

    def newest(self, after: int = 0) -> Encoded | None:
        """The newest picture; ``None`` when its number is not above ``after``.

        For the serving thread: each picture is encoded once, however many look at it, and one that
        nobody looks at never.
        """
        with self._lock:
            picture, number = self._picture, self._number
        if picture is None or number <= after:
            return None
        if self._encoded is None or self._encoded.number != number:
            self._encoded = Encoded(number, _encode(picture))
        return self._encoded


def _encode(picture: np.ndarray) -> bytes:
    height, width = picture.shape[:2]
    if width > _WIDEST:
        size = _WIDEST, max(1, round(height * _WIDEST / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
