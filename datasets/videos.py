"""Find and read videos: files that OpenCV opens, and folders of images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.manifest import VideoEntry, natural_key
from utils.errors import UserError

# fmt: off
IMAGE_SUFFIXES = (
    ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".ras", ".sr", ".tif", ".tiff", ".webp", ".avif",
)
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
_DECLARED_SLACK = 0.01


@dataclass(frozen=True)
class VideoInfo:
    """What ``probe`` found: kind (``video`` or ``frames``), frame count, frame size in pixels."""

    kind: str
    num_frames: int
    width: int
    height: int


def is_video_file(path: Path) -> bool:
    """Whether the name is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def list_images(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are left out."""
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(images, key=lambda path: natural_key(path.name))


def find_videos(folder: str | Path) -> list[Path]:
    """The videos directly in a folder: video files and sub-folders of images, in natural order.

    Raises:
        UserError: the folder is missing or holds no video, a sub-folder holds no image, or two
            videos have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path of the videos")
    children = [path for path in folder.iterdir() if not path.name.startswith(".")]
    videos = [path for path in children if path.is_dir() or is_video_file(path)]
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


def video_name(path: Path) -> str:
    """A video's name: the folder's name, or the file's without its suffix."""
    return path.stem if is_video_file(path) else path.name


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video and measure them.

    A video file is decoded once: what containers declare is not to be relied on.

    Raises:
        UserError: missing, unreadable, without frames, cut short, or of images that differ in size.
    """
    path = Path(path)
    if path.is_dir():
        return _probe_folder(path)
    with _open_video(path) as capture:
        grabbed, frame = capture.read()
        if not grabbed:
            raise UserError(f"{path}: no frame can be read from this video; replace the file")
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        num_frames = 1
        while capture.grab():
            num_frames += 1
    if is_cut_short(num_frames, declared):
        raise UserError(
            f"{path}: cut short: the video declares {declared} frames, {num_frames} can be read; "
            "replace the file"
        )
    return VideoInfo("video", num_frames, frame.shape[1], frame.shape[0])


def is_cut_short(num_frames: int, declared: float) -> bool:
    """Whether a video gave far fewer frames than it declares.

    Containers may declare a frame or two that no decoder gives; more than that is a cut file.
    """
    return declared - num_frames > max(2, _DECLARED_SLACK * declared)


def describe_video(path: str | Path, split: str, name: str | None = None) -> VideoEntry:
    """Probe a video and make its data set entry, covering all of its frames."""
    path = Path(path).absolute()
    info = probe(path)
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
            raise _mixed_size(entry.source, f"frame {index}", frame.shape, expected)
        yield frame
    if index + 1 < entry.stop:
        raise UserError(
            f"{entry.source}: cut short: {index + 1} frames can be read, {entry.stop} were there "
            "when the data set was prepared; restore the video or run "
            "pre_process/prepare_dataset.py again"
        )


def read_image(path: Path) -> np.ndarray:
    """Read an image as (height, width, 3) uint8 BGR.

    Raises:
        UserError: missing, unreadable or cut short.
    """
    data = path.read_bytes()
    # libjpeg fills the missing part of a cut file with grey and says so on stderr only.
    is_cut_jpeg = data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:]
    image = None if is_cut_jpeg or not data else _decode(data)
    if image is None:
        raise UserError(f"{path}: not a whole image (video {path.parent.name}); replace the file")
    return image


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _frames_of_folder(entry: VideoEntry) -> Iterator[np.ndarray]:
    _require_existing(entry.source)
    for path in list_images(entry.source)[entry.start : entry.stop]:
        yield read_image(path)


def _frames_of_file(entry: VideoEntry) -> Iterator[np.ndarray]:
    with _open_video(entry.source) as capture:
        # Seeking by frame number is inexact in many containers; stepping is not.
        for _ in range(entry.start):
            capture.grab()
        for _ in range(entry.num_frames):
            grabbed, frame = capture.read()
            if not grabbed:
                return
            yield frame


@contextlib.contextmanager
def _open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    _require_existing(path)
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise UserError(f"{path}: not a video that OpenCV can open; replace or re-encode it")
        yield capture
    finally:
        capture.release()


def _require_existing(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such video; was it moved since the data set was prepared?")


def _probe_folder(folder: Path) -> VideoInfo:
    images = list_images(folder)
    if not images:
        raise UserError(f"{folder}: empty video folder: no image in it; remove or fill it")
    shape, size = read_image(images[0]).shape, _size_in_header(images[0])
    for index, path in enumerate(images):
        if size is not None and _size_in_header(path) == size:
            continue
        # The header tells the size before turning by EXIF orientation; the picture decides.
        found = read_image(path).shape
        if found != shape:
            raise _mixed_size(folder, f"frame {index} ({path.name})", found, shape)
    return VideoInfo("frames", len(images), shape[1], shape[0])


def _size_in_header(path: Path) -> tuple[int, int] | None:
    """Width and height that an image declares, without decoding it; ``None``: not known."""
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        return None  # OpenCV may know the format


def _mixed_size(
    source: Path, frame: str, found: tuple[int, ...], expected: tuple[int, ...]
) -> UserError:
    return UserError(
        f"{source}: frames of mixed size: {frame} is {found[1]}x{found[0]}, the video is "
        f"{expected[1]}x{expected[0]}; make them one size"
    )
