"""A video of each alarm, with some seconds before and after it, written beside the scoring."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.config.alarms import AlarmConfig
from utils.errors import UserError
from visualization.video_writer import VideoWriter

logger = logging.getLogger(__name__)

_WIDEST = 1280  # pixels of a clip
_QUALITY = 90  # of the JPEGs in which the last seconds are kept
_MOST_BYTES = 64 * 2**20  # of those
_MOST_WAITING = 16  # pictures on their way to the thread
_SPARE_SECONDS = 1.0


@dataclass
class _Clip:
    """A clip that is being written; ``until`` is known when its alarm is over."""

    writer: VideoWriter
    first: float
    until: float = math.inf


class ClipRecorder:
    """Keeps the last seconds of a video and writes clips of it, in a thread of its own.

    Times are seconds from any start, the same for pictures and alarms, and rise from call to call.

    Args:
        folder: gets ``NAME.mp4`` for each alarm, whole or not at all.
        fps: of the pictures.
        settings: the configuration's ``alarms`` block.
        may_drop: leave a picture out of the clip rather than wait for the thread, as a camera must;
            the clips then play at an even rate, else at the pictures' times.
    """

    def __init__(self, folder: Path, fps: float, settings: AlarmConfig, may_drop: bool) -> None:
        self._folder, self._fps, self._settings = folder, fps, settings
        self._reach = settings.before_seconds + settings.min_seconds + _SPARE_SECONDS
        self._last: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._clips: dict[str, _Clip] = {}
        self._written: deque[Path] = deque()
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(_MOST_WAITING)
        self._may_drop = may_drop
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def picture(self, seconds: float, picture: np.ndarray) -> None:
        """Take the next picture, (H,W,3) uint8 BGR; it is not to be changed afterwards."""
        if not self._places.acquire(blocking=not self._may_drop):
            return
        small = _made_small(picture)
        self._tasks.put(lambda: self._take(seconds, small))

    def start(self, name: str, seconds: float) -> None:
        """Begin the clip of an alarm that began at that time."""
        self._tasks.put(lambda: self._begin(name, seconds))

    def end(self, name: str, seconds: float) -> None:
        """The alarm ended at that time: its clip ends some seconds later."""
        self._tasks.put(lambda: self._let_end(name, seconds))

    def close(self, discard: bool = False) -> None:
        """Finish all clips; ``discard``: and remove them, since the video was not scored whole."""
        self._tasks.put(None)
        self._thread.join()
        for path in self._written if discard else ():
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # a clip is no reason to stop scoring, nor to hang
                logger.warning("clips of alarms: %s", error)
        for name in list(self._clips):
            self._finish(name)

    def _take(self, seconds: float, picture: np.ndarray) -> None:
        self._places.release()
        self._keep(seconds, picture)
        for name, clip in list(self._clips.items()):
            longest = clip.first + self._settings.longest_clip_seconds
            if seconds >= min(clip.until, longest) or not clip.writer.fits(picture):
                self._finish(name)
            else:
                self._write(name, clip, seconds, picture)

    def _keep(self, seconds: float, picture: np.ndarray) -> None:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        self._last.append((seconds, data))
        self._bytes += len(data)
        while self._bytes > _MOST_BYTES or self._last[0][0] < seconds - self._reach:
            self._bytes -= len(self._last.popleft()[1])

    def _begin(self, name: str, seconds: float) -> None:
        since = seconds - self._settings.before_seconds
        kept = [(at, data) for at, data in self._last if at >= since]
        writer = VideoWriter(self._folder / f"{name}.mp4", self._fps)
        clip = self._clips[name] = _Clip(writer, kept[0][0] if kept else seconds)
        for at, data in kept:
            picture = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
            if name in self._clips and writer.fits(picture):
                self._write(name, clip, at, picture)

    def _let_end(self, name: str, seconds: float) -> None:
        if name in self._clips:
            self._clips[name].until = seconds + self._settings.after_seconds

    def _write(self, name: str, clip: _Clip, seconds: float, picture: np.ndarray) -> None:
        try:
            clip.writer.write(picture, None if self._may_drop else seconds)
        except UserError as error:
            del self._clips[name]
            logger.warning("the clip of an alarm is left out: %s", error)

    def _finish(self, name: str) -> None:
        writer = self._clips.pop(name).writer
        try:
            writer.close()
        except UserError as error:
            logger.warning("the clip of an alarm is left out: %s", error)
            return
        self._written.append(writer.path)
        while self._may_drop and 0 < self._settings.keep_clips < len(self._written):
            self._written.popleft().unlink(missing_ok=True)


def _made_small(picture: np.ndarray) -> np.ndarray:
    """At most so wide, sides even."""
    height, width = picture.shape[:2]
    if width <= _WIDEST:
        return picture
    size = _WIDEST, max(2, round(height * _WIDEST / width / 2) * 2)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
