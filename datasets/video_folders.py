"""Which videos a folder holds: video files, folders of images, recordings with thumbnails."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from datasets.image_folders import is_animation, list_images
from datasets.manifest import natural_key
from utils.errors import UserError
from utils.untrusted.text import safe_name

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
_MASKS = re.compile(r"[_-](gt|masks?|labels?|ground_?truth)$")  # behind the name of a video
_THUMBNAILS_A_VIDEO = 2  # at most, where their names do not say that they are some

logger = logging.getLogger(__name__)


def is_video_file(path: Path) -> bool:
    """Whether it is a video file by its name, or a GIF of several pictures."""
    return (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()) or is_animation(path)


def video_name(path: Path) -> str:
    """A video's name: the folder's name, or the file's without its suffix, as ``safe_name``."""
    return safe_name(path.stem if is_video_file(path) else path.name)


def is_frame_folder(folder: Path) -> bool:
    """Whether the images directly in a folder are frames of a video, not recordings' thumbnails."""
    images = list_images(folder)
    return bool(images) and not _are_thumbnails(images, _video_files(folder))


def find_videos(folder: str | Path, skip_others: bool = False) -> list[Path]:
    """The videos directly in a folder: video files and sub-folders of images, in natural order.

    Folders of masks beside their video (``NAME_gt``) and thumbnails beside recordings are left out,
    and that is said.

    Args:
        folder: where to look.
        skip_others: leave out sub-folders without images with a warning, rather than refuse them,
            and let videos have the same name (``unique_names``).

    Raises:
        UserError: the folder is missing or holds no video, a sub-folder holds no image, or two
            videos have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path of the videos")
    children = [path for path in folder.iterdir() if not path.name.startswith(".")]
    videos = [path for path in children if path.is_dir() or is_video_file(path)]
    videos = _with_images(_without_masks(folder, videos), skip_others)
    if not videos:
        raise UserError(
            f"{folder}: no video in it; it must hold video files (.avi, .mp4, ...) or one folder "
            "of images (.jpg, .png, .tif, ...) a video"
        )
    _say_thumbnails(folder)
    names = [video_name(path) for path in videos]
    for path, name in zip(videos, names, strict=True):
        if names.count(name) > 1 and not skip_others:
            raise UserError(f"{path}: another video here is also named {name!r}; rename one")
    return sorted(videos, key=lambda path: natural_key(path.name))


def unique_names(videos: Sequence[Path]) -> list[str]:
    """The videos' names; those that are another's, too, with their suffix: ``a_mp4``, ``a_mkv``."""
    names = [video_name(path) for path in videos]
    return [
        safe_name(path.name.replace(".", "_")) if names.count(name) > 1 else name
        for path, name in zip(videos, names, strict=True)
    ]


def refuse_mixed_folder(folder: Path) -> None:
    """Images and video files in one folder: which of them is meant is not to be guessed.

    Raises:
        UserError: naming one of the video files.
    """
    files = _video_files(folder)
    if files and list_images(folder):
        raise UserError(
            f"{folder}: holds images and video files ({files[0].name}); move one kind to another "
            "folder: a folder of images is one video, a folder of video files many"
        )
    inner = [path for path in folder.iterdir() if path.is_dir() and list_images(path)]
    if inner:
        logger.warning("%s: one video; its sub-folder %s is not read", folder, inner[0].name)


def _video_files(folder: Path) -> list[Path]:
    return [
        path for path in folder.iterdir() if not path.name.startswith(".") and is_video_file(path)
    ]


def _are_thumbnails(images: Sequence[Path], videos: Sequence[Path]) -> bool:
    """Whether images lie beside recordings as their previews: few of them, or named like them."""
    if len(images) <= _THUMBNAILS_A_VIDEO * len(videos):
        return True
    stems = tuple(path.stem.casefold() for path in videos)
    return bool(stems) and all(image.name.casefold().startswith(stems) for image in images)


def _say_thumbnails(folder: Path) -> None:
    images = list_images(folder)
    if images:
        logger.warning(
            "%s: %d image(s) beside the videos are left out (%s, ...)",
            folder,
            len(images),
            images[0].name,
        )


def _with_images(videos: Sequence[Path], skip_others: bool) -> list[Path]:
    """Video files and folders of images; other folders are refused, or left out and named."""
    kept = []
    for path in videos:
        if path.is_file() or is_frame_folder(path):
            kept.append(path)
        elif not skip_others:
            raise UserError(f"{path}: empty video folder: no image in it; remove or fill it")
        elif _video_files(path):
            logger.warning("%s: a folder of videos is not read; name it as --source", path)
        else:
            logger.warning("%s: a folder without images is not read", path)
    return kept


def _without_masks(folder: Path, videos: list[Path]) -> list[Path]:
    names = {video_name(path).casefold() for path in videos}
    masks = [path for path in videos if _MASKS.sub("", video_name(path).casefold()) in names]
    masks = [path for path in masks if _MASKS.search(video_name(path).casefold())]
    if masks:
        shown = ", ".join(path.name for path in masks[:3]) + ", ..." * (len(masks) > 3)
        logger.info("%s: %d left out as ground truth, no videos: %s", folder, len(masks), shown)
    return [path for path in videos if path not in masks]
