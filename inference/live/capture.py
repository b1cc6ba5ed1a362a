"""Open what ``--live`` watches: a camera, a stream, or a video played at its own speed."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from datasets.rates import frame_rate, plausible_rate
from datasets.video_files import FOREIGN_TITLES, LIMITS, TimedFrame, decode, is_cut_short
from inference.fitting import Fitting, Recording, read_recording
from inference.live.arrival import FittedCamera, arrival_rate
from inference.live.frame_buffer import Camera, FrameBuffer
from inference.sources import (
    find_entries,
    is_camera,
    is_stream,
    require_stream_address,
    source_name,
)
from inference.thinning import Thinning
from utils.errors import UserError
from utils.untrusted.addresses import without_secrets

# What an address may lead to, playlists behind it included: the network, never a local file.
# RTSP itself needs more than the addresses that ``require_stream_address`` admits.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy"
_NEVER = 300.0  # seconds without a frame; a file has none of them
_TIMEOUT_SECONDS = 10.0  # of opening a stream and of waiting for its next frame


class PacedVideo:
    """Plays a video or folder of frames at its own speed, as a camera would show it."""

    has_end = True

    def __init__(self, frames: Iterator[TimedFrame]) -> None:
        self._frames = frames
        self._began: float | None = None
        self.seconds = math.nan

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Wait until the next frame is due and give it; see ``cv2.VideoCapture.read``."""
        frame = next(self._frames, None)
        if frame is None:
            return False, None
        now = time.monotonic()
        self._began = now - frame.seconds if self._began is None else self._began
        time.sleep(max(0.0, self._began + frame.seconds - now))
        self.seconds = frame.seconds
        return True, frame.picture

    def release(self) -> None:
        """Nothing is held open."""


class Stream:
    """A stream or recording at an address, by PyAV."""

    def __init__(self, container: Any, name: str) -> None:
        self._container = container
        self._frames = decode(container, Path(name))
        stream = container.streams.video[0]
        self.fps = float(stream.average_rate or 0.0)
        seconds = max(container.duration or 0, 0) / av.time_base
        self.num_frames = stream.frames or seconds * self.fps  # 0: endless, as far as is known
        self.seconds = math.nan

    def read(self) -> tuple[bool, np.ndarray | None]:
        """See ``cv2.VideoCapture.read``."""
        frame = next(self._frames, None)
        if frame is None:
            return False, None
        self.seconds = frame.seconds
        return True, frame.picture

    def release(self) -> None:
        """Close the connection."""
        self._container.close()


class CameraByNumber:
    """A camera of this machine, by OpenCV, which knows every system's drivers."""

    num_frames = 0.0
    seconds = math.nan

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.read, self.release = capture.read, capture.release
        self.fps = float(capture.get(cv2.CAP_PROP_FPS))


def open_stream(source: str) -> Stream | CameraByNumber | None:
    """Open a camera by number or a stream by address; ``None`` when that fails."""
    if source.isdecimal():
        capture = cv2.VideoCapture(int(source))
        if capture.isOpened():
            return CameraByNumber(capture)
        capture.release()
        return None
    try:
        container = av.open(
            re.sub("^[^:]+", lambda scheme: scheme[0].lower(), source),
            options={"protocol_whitelist": _PROTOCOLS, **LIMITS},
            timeout=(_TIMEOUT_SECONDS, _TIMEOUT_SECONDS),
            **FOREIGN_TITLES,
        )
    except (av.error.FFmpegError, OSError, ValueError):  # HTTP errors are the first alone
        return None
    if container.streams.video and container.streams.video[0].codec_context is not None:
        return Stream(container, source_name(source))
    container.close()
    return None


def open_live(
    source: str,
    fps: float | None,
    default_fps: float,
    max_delay: float,
    give_up_after: float,
    fitting: Fitting | None = None,
) -> FrameBuffer:
    """Open ``--source`` for live use.

    A recording at an address, which unlike a stream knows its length, is played as a file is: once
    and at its own speed.

    Args:
        source: a camera's number, a stream's address, or one video, which is played at its speed.
        fps: frames per second; ``None``: as the source tells.
        default_fps: where it does not tell.
        max_delay, give_up_after: see ``FrameBuffer``.
        fitting: what its pictures and rate are made like; ``None``: they are left.

    Raises:
        UserError: it cannot be opened, is a folder of several videos, or has too few frames per
            second for the model.
    """
    fitting = fitting or Fitting()
    if not is_stream(source):
        return _play_video(source, fps, default_fps, max_delay, fitting)
    if not is_camera(source):
        require_stream_address(source)
    first, shown = open_stream(source), without_secrets(source)
    rate = fps or (plausible_rate(first.fps, default_fps) if first else default_fps)
    if isinstance(first, Stream) and first.num_frames > 0:
        recording = PacedVideo(_read_address(first, shown, rate))
        return _buffer(lambda: recording, shown, max_delay, give_up_after, rate, fitting)
    is_timed = False
    if first and fps is None and not fitting.is_rate(rate):  # many servers make a rate up
        rate, is_timed = arrival_rate(first) or (rate, False)
    opened = [first]

    def open_camera() -> Camera | None:
        return opened.pop() if opened else open_stream(source)

    return _buffer(open_camera, shown, max_delay, give_up_after, rate, fitting, is_timed)


def _buffer(
    open_camera: Callable[[], Camera | None],
    shown: str,
    max_delay: float,
    give_up_after: float,
    fps: float,
    fitting: Fitting,
    is_timed: bool = True,
) -> FrameBuffer:
    """The camera's frames, fitted, at the rate that is left."""
    step = fitting.step(fps, shown)
    said: list[bool] = []

    def say(width: int, height: int) -> None:
        if not said:
            said.append(True)
            fitting.say(width, height, fps, step, shown)

    def open_fitted() -> Camera | None:
        camera = open_camera()
        return camera and FittedCamera(camera, fitting, Thinning(fps, step), is_timed, say)

    return FrameBuffer(open_fitted, shown, max_delay, give_up_after, fps / step)


def _read_address(recording: Stream, shown: str, fps: float) -> Iterator[TimedFrame]:
    """The frames of a recording at an address, ``shown`` in messages, at even intervals.

    Raises:
        UserError: it broke off before its end.
    """
    num_frames, declared = 0, recording.num_frames
    while (picture := recording.read()[1]) is not None:
        yield TimedFrame(num_frames / fps, picture)
        num_frames += 1
    recording.release()
    if is_cut_short(num_frames, declared):
        raise UserError(
            f"{shown}: broke off after {num_frames} of {declared:.0f} frames; all results so far "
            "are kept. Start again, or download the recording and give the file as --source"
        )


def _play_video(
    source: str, fps: float | None, default_fps: float, max_delay: float, fitting: Fitting
) -> FrameBuffer:
    entries = find_entries(source)
    if len(entries) != 1:
        raise UserError(
            f"--source {source}: holds {len(entries)} videos; --live watches one camera, stream or "
            f"video, such as {entries[0].source}"
        )
    rate = fps or frame_rate(entries[0], default_fps)
    video = PacedVideo(read_recording(Recording(entries[0], rate, fps is None)))
    return _buffer(lambda: video, source, max_delay, _NEVER, rate, fitting)
