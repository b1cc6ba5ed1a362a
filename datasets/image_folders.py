"""Videos that are folders of images: listed, checked and read."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.frame_names import in_order, numbering, require_frame_names
from datasets.video_files import MOST_PIXELS
from utils.errors import UserError
from utils.file_kind import describe_file
from utils.files import require_file
from utils.untrusted.expansion import is_cut_png

logger = logging.getLogger(__name__)

# fmt: off
IMAGE_SUFFIXES = (
    ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".ras", ".sr", ".tif", ".tiff", ".webp", ".avif",
)
# fmt: on
# Formats that may hold several frames. (A JPEG of a phone may hold a preview beside its picture.)
_MAY_HOLD_MANY = ("TIFF", "PNG", "WEBP", "AVIF")


def list_images(folder: Path) -> list[Path]:
    """The images directly in a folder, in the order of their numbers or times.

    Upper and lower case are alike; hidden files and animated GIFs (videos) are left out.
    """
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and not is_animation(path)
    ]
    return in_order(images)


def is_animation(path: Path) -> bool:
    """Whether it is a GIF of several pictures."""
    return path.suffix.lower() == ".gif" and path.is_file() and _header(path)[1] > 1


def refuse_image(path: Path) -> None:
    """Refuse a single image where a video is needed.

    Raises:
        UserError: it is one, of one picture or many.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES and not is_animation(path):
        pages = _header(path)[1]
        if pages > 1:
            raise _many_pages(path, pages)
        raise UserError(f"{path}: a single image, no video; name the folder of a video's images")


def probe_images(folder: Path) -> tuple[int, int, int]:
    """Count the images of a video and measure them: number, width and height in pixels.

    Raises:
        UserError: none, one that is unreadable, of another size, of several pages, or no frame.
    """
    images = list_images(folder)
    if not images:
        raise UserError(f"{folder}: empty video folder: no image in it; remove or fill it")
    require_frame_names(folder, images)
    _say_what_is_missing(folder, images)
    shape, size = read_image(images[0]).shape, _header(images[0])[0]
    for index, path in enumerate(images):
        found_size, pages = _header(path)
        if pages > 1:
            raise _many_pages(path, pages)
        if size is not None and found_size == size:
            continue
        # The header tells the size before turning by EXIF orientation; the picture decides.
        actual = read_image(path).shape
        if actual != shape:
            raise mixed_size(folder, f"frame {index} ({path.name})", actual, shape)
    return len(images), shape[1], shape[0]


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Read an image as (height, width, 3) uint8 BGR, or as OpenCV's ``flags`` say.

    Raises:
        UserError: missing, unreadable or cut short.
    """
    require_file(path)
    data = path.read_bytes()
    _require_size(path, data)
    is_cut = _is_cut_jpeg(data) or is_cut_png(data)
    image = None if is_cut or not data else _decode(data, flags)
    if image is None:
        kind = "" if is_cut else describe_file(path)
        raise UserError(
            f"{path}: not a whole image (video {path.parent.name})"
            f"{f': it is {kind}' if kind else '; replace the file'}"
        )
    return image


def mixed_size(
    source: Path, frame: str, actual: tuple[int, ...], expected: tuple[int, ...]
) -> UserError:
    """The error of a frame whose shape is another than its video's."""
    return UserError(
        f"{source}: frames of mixed size: {frame} is {actual[1]}x{actual[0]}, the video is "
        f"{expected[1]}x{expected[0]}; make them one size"
    )


def _say_what_is_missing(folder: Path, images: Sequence[Path]) -> None:
    count = numbering(images)
    if count and count.num_missing:
        logger.warning(
            "%s: images are missing: their numbers run from %d to %d, but there are %d of them "
            "(number %d is the first that is not there); flow across a gap looks like fast motion",
            folder,
            count.first,
            count.last,
            len(images),
            count.missing,
        )


def _many_pages(path: Path, pages: int) -> UserError:
    return UserError(
        f"{path}: {pages} pictures in one file, of which only the first would be read; write one "
        f"file a picture into a folder of the video (ImageMagick: convert {path.name} %05d.png)"
    )


def _header(path: Path) -> tuple[tuple[int, int] | None, int]:
    """What an image declares, undecoded: width and height (``None``: not known) and pictures."""
    try:
        with Image.open(path) as image:
            may_hold_many = image.format in (*_MAY_HOLD_MANY, "GIF")
            return image.size, getattr(image, "n_frames", 1) if may_hold_many else 1
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None, 1  # OpenCV may know the format


def _require_size(path: Path, data: bytes) -> None:
    """Refuse an image that declares more pixels than any camera has, before they fill the memory.

    Raises:
        UserError: naming it.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_large = image.width * image.height > MOST_PIXELS
    except Image.DecompressionBombError:
        is_large = True
    except (OSError, ValueError, SyntaxError):
        return  # unknown or damaged, which decoding tells
    if is_large:
        raise UserError(
            f"{path}: an image of more than {MOST_PIXELS // 10**6} million pixels; make the frames "
            "of this video smaller"
        )


def _is_cut_jpeg(data: bytes) -> bool:
    """libjpeg fills the missing part with grey and says so on stderr only."""
    return data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:]


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
