"""Probe and read videos: files, and folders of images."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datasets.image_folders import (
    list_images,
    mixed_size,
    probe_images,
    read_image,
    refuse_image,
)
from datasets.manifest import VideoEntry
from datasets.video_files import (
    TimedFrame,
    count_packets,
    decode,
    is_cut_short,
    open_video,
    read_header,
)
from datasets.video_folders import refuse_mixed_folder, video_name
from utils.errors import UserError

logger = logging.getLogger(__name__)
_LONGEST_NAME = 220  # bytes; file systems allow 255, and clips and half-written files append to it


@dataclass(frozen=True)
class VideoInfo:
    """Kind (``video`` or ``frames``), number of frames and frame size in pixels of a video."""

    kind: str
    num_frames: int
    width: int
    height: int


class ShortVideo(UserError):
    """A video gives far fewer frames than it declares; ``info`` is what it gives."""

    def __init__(self, path: Path, info: VideoInfo, declared: int) -> None:
        super().__init__(
            f"{path}: cut short: the video declares {declared} frames, {info.num_frames} can be "
            "read; replace the file"
        )
        self.info, self.declared = info, declared


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video and measure them.

    What a container declares is believed where it has as many packets; else all is decoded.

    Raises:
        UserError: missing, unreadable, without frames, cut short, or of images that differ in size.
    """
    path = Path(path)
    if path.is_dir():
        refuse_mixed_folder(path)
        return VideoInfo("frames", *probe_images(path))
    refuse_image(path)
    header = read_header(path)
    num_frames, end = header.num_frames, 0.0
    if not num_frames or num_frames != count_packets(path):
        num_frames, end = _count_frames(path)
    info = VideoInfo("video", num_frames, header.width, header.height)
    declared = header.num_frames or round(num_frames * header.seconds / max(end, 1e-9))
    if is_cut_short(num_frames, declared):
        raise ShortVideo(path, info, declared)
    return info


def _count_frames(path: Path) -> tuple[int, float]:
    """How many frames a video gives, and the time in seconds at which the last one ends."""
    count, before, last = 0, 0.0, 0.0
    with open_video(path) as container:
        for frame in decode(container, path, fill=True):
            count, before, last = count + 1, last, frame.seconds
    return count, last + max(last - before, 0.0)


def describe_video(
    path: str | Path, split: str, name: str | None = None, allow_short: bool = False
) -> VideoEntry:
    """Make the data set entry of a video, covering all of its frames.

    Args:
        path: the video; it is probed.
        split: ``training`` or ``testing``.
        name: default: that of the file or folder.
        allow_short: take one that is cut short as far as it goes, with a warning.

    Raises:
        ShortVideo: it is cut short; UserError: see ``probe``, or too long a name.
    """
    path = Path(path).absolute()
    name = name or video_name(path)
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise UserError(
            f"{path}: a name of {len(os.fsencode(name))} bytes is too long for the files that are "
            f"called after it; rename the video to {_LONGEST_NAME} bytes or fewer"
        )
    try:
        info = probe(path)
    except ShortVideo as short:
        if not allow_short:
            raise
        info = short.info
        count = info.num_frames
        logger.warning("%s: %d of %d frames can be read: used", path, count, short.declared)
    return VideoEntry(
        name=name,
        split=split,
        source=path,
        kind=info.kind,
        start=0,
        stop=info.num_frames,
        width=info.width,
        height=info.height,
    )


def read_frames(entry: VideoEntry) -> Iterator[np.ndarray]:
    """Read the frames of a video, in order; see ``read_timed``.

    Yields:
        ``entry.num_frames`` arrays (height, width, 3), uint8, BGR.
    """
    return (frame.picture for frame in read_timed(entry))


def read_timed(entry: VideoEntry) -> Iterator[TimedFrame]:
    """Read the frames of a video with their times, in order.

    Yields:
        ``entry.num_frames`` frames; ``seconds`` as the container tells them, which may be at
        uneven intervals; of a folder of images NaN.

    Raises:
        UserError: missing or unreadable video, a frame of another size, or fewer frames than
            the entry says.
    """
    frames = _frames_of_folder if entry.kind == "frames" else _frames_of_file
    width, height = entry.native_size or (entry.width, entry.height)
    expected = (height, width, 3)
    index = entry.start - 1
    for index, frame in enumerate(frames(entry), entry.start):
        if frame.picture.shape != expected:
            raise mixed_size(entry.source, f"frame {index}", frame.picture.shape, expected)
        yield frame._replace(picture=resized(frame.picture, (entry.width, entry.height)))
    if index + 1 < entry.stop:
        raise UserError(
            f"{entry.source}: cut short: {index + 1} frames can be read, {entry.stop} were there "
            "when the data set was prepared; restore the video or run "
            "pre_process/prepare_dataset.py again"
        )


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H,W,3) uint8 of another size (width, height); the same array where it has it."""
    width = picture.shape[1]
    if size == (width, picture.shape[0]):
        return picture
    method = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    return cv2.resize(picture, size, interpolation=method)


def _frames_of_folder(entry: VideoEntry) -> Iterator[TimedFrame]:
    _require_existing(entry.source)
    for path in list_images(entry.source)[entry.start : entry.stop]:
        yield TimedFrame(math.nan, read_image(path))


def _frames_of_file(entry: VideoEntry) -> Iterator[TimedFrame]:
    with open_video(entry.source) as container:
        frames = decode(container, entry.source, fill=True)
        # Seeking by frame number is inexact in many containers; stepping is not.
        yield from itertools.islice(frames, entry.start, entry.stop)


def _require_existing(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such video; was it moved since the data set was prepared?")
