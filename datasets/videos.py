"""Find and read videos: files, and folders of images."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.image_folders import (
    is_animation,
    list_images,
    mixed_size,
    probe_images,
    read_image,
    refuse_image,
)
from datasets.manifest import VideoEntry, natural_key
from datasets.video_files import count_packets, decode, is_cut_short, open_video, read_header
from utils.errors import UserError
from utils.untrusted.text import safe_name

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
_MASKS = re.compile(r"[_-](gt|masks?|labels?|ground_?truth)$")  # behind the name of a video

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What ``probe`` found: kind (``video`` or ``frames``), frame count, frame size in pixels."""

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


def is_video_file(path: Path) -> bool:
    """Whether it is a video file by its name, or a GIF of several pictures."""
    return (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()) or is_animation(path)


def find_videos(folder: str | Path) -> list[Path]:
    """The videos directly in a folder: video files and sub-folders of images, in natural order.

    Folders of masks beside their video (``NAME_gt``) are left out, and that is said.

    Raises:
        UserError: the folder is missing or holds no video, a sub-folder holds no image, or two
            videos have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path of the videos")
    children = [path for path in folder.iterdir() if not path.name.startswith(".")]
    videos = [path for path in children if path.is_dir() or is_video_file(path)]
    videos = _without_masks(folder, videos)
    if not videos:
        raise UserError(
            f"{folder}: no video in it; it must hold video files (.avi, .mp4, ...) or one folder "
            "of images (.jpg, .png, .tif, ...) a video"
        )
    names = [video_name(path) for path in videos]
    for path, name in zip(videos, names, strict=True):
        if path.is_dir() and not list_images(path):
            raise UserError(f"{path}: empty video folder: no image in it; remove or fill it")
        if names.count(name) > 1:
            raise UserError(f"{path}: another video here is also named {name!r}; rename one")
    return sorted(videos, key=lambda path: natural_key(path.name))


def _without_masks(folder: Path, videos: list[Path]) -> list[Path]:
    names = {video_name(path).casefold() for path in videos}
    masks = [path for path in videos if _MASKS.sub("", video_name(path).casefold()) in names]
    masks = [path for path in masks if _MASKS.search(video_name(path).casefold())]
    if masks:
        shown = ", ".join(path.name for path in masks[:3]) + ", ..." * (len(masks) > 3)
        logger.info("%s: %d left out as ground truth, no videos: %s", folder, len(masks), shown)
    return [path for path in videos if path not in masks]


def _refuse_mixed_folder(folder: Path) -> None:
    """Images and video files in one folder: which of them is meant is not to be guessed."""
    files = [path for path in folder.iterdir() if is_video_file(path)]
    if files and list_images(folder):
        raise UserError(
            f"{folder}: holds images and video files ({files[0].name}); move one kind to another "
            "folder: a folder of images is one video, a folder of video files many"
        )
    inner = [path for path in folder.iterdir() if path.is_dir() and list_images(path)]
    if inner:
        logger.warning("%s: one video; its sub-folder %s is not read", folder, inner[0].name)


def video_name(path: Path) -> str:
    """A video's name: the folder's name, or the file's without its suffix, as ``safe_name``."""
    return safe_name(path.stem if is_video_file(path) else path.name)


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video and measure them.

    What a container declares is believed where it has as many packets; else all is decoded.

    Raises:
        UserError: missing, unreadable, without frames, cut short, or of images that differ in size.
    """
    path = Path(path)
    if path.is_dir():
        _refuse_mixed_folder(path)
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
        for frame in decode(container, path):
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
        ShortVideo: it is cut short; UserError: see ``probe``.
    """
    path = Path(path).absolute()
    try:
        info = probe(path)
    except ShortVideo as short:
        if not allow_short:
            raise
        info = short.info
        count = info.num_frames
        logger.warning("%s: %d of %d frames can be read: used", path, count, short.declared)
    return VideoEntry(
        name=name or video_name(path),
        split=split,
        source=path,
        kind=info.kind,
        start=0,
        stop=info.num_frames,
        width=info.width,
        height=info.height,
    )


def read_frames(entry: VideoEntry) -> Iterator[np.ndarray]:
    """Read the frames of a video, in order.

    Yields:
        ``entry.num_frames`` arrays (height, width, 3), uint8, BGR.

    Raises:
        UserError: missing or unreadable video, a frame of another size, or fewer frames than
            the entry says.
    """
    frames = _frames_of_folder if entry.kind == "frames" else _frames_of_file
    expected = (entry.height, entry.width, 3)
    index = entry.start - 1
    for index, frame in enumerate(frames(entry), entry.start):
        if frame.shape != expected:
            raise mixed_size(entry.source, f"frame {index}", frame.shape, expected)
        yield frame
    if index + 1 < entry.stop:
        raise UserError(
            f"{entry.source}: cut short: {index + 1} frames can be read, {entry.stop} were there "
            "when the data set was prepared; restore the video or run "
            "pre_process/prepare_dataset.py again"
        )


def _frames_of_folder(entry: VideoEntry) -> Iterator[np.ndarray]:
    _require_existing(entry.source)
    for path in list_images(entry.source)[entry.start : entry.stop]:
        yield read_image(path)


def _frames_of_file(entry: VideoEntry) -> Iterator[np.ndarray]:
    with open_video(entry.source) as container:
        frames = decode(container, entry.source)
        # Seeking by frame number is inexact in many containers; stepping is not.
        for frame in itertools.islice(frames, entry.start, entry.stop):
            yield frame.picture


def _require_existing(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such video; was it moved since the data set was prepared?")
