"""Open what ``--live`` watches: a camera, a stream, or a video played at its own speed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np

from datasets.videos import is_cut_short, read_frames
from inference.live.frame_buffer import Camera, FrameBuffer
from inference.sources import find_entries, frame_rate, is_stream, plausible_rate
from utils.errors import UserError

_TIMEOUT_MS = 10_000  # of opening a stream and of waiting for its next frame


class PacedVideo:
    """Plays a video or folder of frames at its own speed, as a camera would show it."""

    has_end = True

    def __init__(self, frames: Iterator[np.ndarray], fps: float) -> None:
        self._frames = frames
        self._period = 1.0 / fps
        self._due = time.monotonic()

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Wait until the next frame is due and give it; see ``cv2.VideoCapture.read``."""
        frame = next(self._frames, None)
        if frame is None:
            return False, None
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due += self._period
        return True, frame

    def release(self) -> None:
        """Nothing is held open."""


def open_stream(source: str) -> Camera | None:
    """Open a camera by number or a stream by address; ``None`` when that fails."""
    if source.isdecimal():
        capture = cv2.VideoCapture(int(source))
    else:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
    if capture.isOpened():
        return capture
    capture.release()
    return None


def open_live(
    source: str, fps: float | None, default_fps: float, max_delay: float, give_up_after: float
) -> FrameBuffer:
    """Open ``--source`` for live use.

    A recording at an address, which unlike a stream knows its length, is played as a file is: once
    and at its own speed.

    Args:
        source: a camera's number, a stream's address, or one video, which is played at its speed.
        fps: frames a second; ``None``: as the source tells.
        default_fps: where it does not tell.
        max_delay, give_up_after: see ``FrameBuffer``.

    Raises:
        UserError: it cannot be opened, or is a folder of several videos.
    """
    if not is_stream(source):
        return _play_video(source, fps, default_fps, max_delay)
    first = open_stream(source)
    rate = fps or (plausible_rate(first, default_fps) if first else default_fps)
    if first is not None and not source.isdecimal() and (length := _num_frames(first)) > 0:
        recording = PacedVideo(_read_recording(first, source, length), rate)
        return FrameBuffer(lambda: recording, source, max_delay, fps=rate)
    opened = [first]

    def open_camera() -> Camera | None:
        return opened.pop() if opened else open_stream(source)

    return FrameBuffer(open_camera, source, max_delay, give_up_after, rate)


def _num_frames(capture: cv2.VideoCapture) -> float:
    """Frames that a capture declares; FFmpeg gives 0 or nonsense below it for endless streams."""
    return capture.get(cv2.CAP_PROP_FRAME_COUNT)


def _read_recording(
    capture: cv2.VideoCapture, source: str, declared: float
) -> Iterator[np.ndarray]:
    """The frames of a recording at an address.

    Raises:
        UserError: it broke off before its end.
    """
    num_frames = 0
    while (read := capture.read())[0]:
        num_frames += 1
        yield read[1]
    capture.release()
    if is_cut_short(num_frames, declared):
        raise UserError(
            f"{source}: broke off after {num_frames} of {declared:.0f} frames; all results so far "
            "are kept. Start again, or download the recording and give the file as --source"
        )


def _play_video(
    source: str, fps: float | None, default_fps: float, max_delay: float
) -> FrameBuffer:
    entries = find_entries(source)
    if len(entries) != 1:
        raise UserError(
            f"--source {source}: holds {len(entries)} videos; --live watches one camera, stream or "
            f"video, such as {entries[0].source}"
        )
    rate = fps or frame_rate(entries[0], default_fps)
    video = PacedVideo(read_frames(entries[0]), rate)
    return FrameBuffer(lambda: video, source, max_delay, fps=rate)
