"""Pixel masks of anomalous regions, in the layouts of UCSD, Avenue and ShanghaiTech."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from datasets.image_folders import list_images, read_image
from datasets.labels.mat_files import Variables, read_mat
from datasets.manifest import natural_key
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY


def has_masks(folder: Path) -> bool:
    """Whether a folder holds pixel masks."""
    return bool(_mask_sources(folder))


def read_masks(folder: Path) -> Iterator[tuple[str, list[np.ndarray] | np.ndarray]]:
    """Read the masks of one video after the other.

    Known: UCSD ``Test001_gt/*.bmp``, Avenue ``testing_label_mask/1_label.mat`` (``volLabel``),
    ShanghaiTech ``test_pixel_mask/01_0014.npy``.

    Yields:
        ``(name, masks)``: the video's name as the layout spells it without its ending, and its
        masks (H, W), one a frame, where anything not zero is anomalous.

    Raises:
        UserError: a file that is damaged.
    """
    for path in _mask_sources(folder):
        if path.is_dir():
            yield _name(path), [_read_grey(image) for image in list_images(path)]
        elif path.suffix == ".mat":
            yield _name(path), _read_volume(path)
        else:
            yield _name(path), _read_stack(path)


def mask_names(folder: Path) -> list[str]:
    """The names that ``read_masks`` yields, in its order, without reading the masks."""
    return [_name(path) for path in _mask_sources(folder)]


def _name(path: Path) -> str:
    return path.stem.removesuffix("_gt").removesuffix("_label")


def _mask_sources(folder: Path) -> list[Path]:
    folders = [path for path in folder.glob("*_gt") if path.is_dir()]
    volumes = [path for path in folder.glob("*.mat") if re.fullmatch(r"\d+_label", path.stem)]
    stacks = [path for path in folder.glob("*.npy") if _is_stack(path)]
    sources = folders or volumes or stacks
    return sorted(sources, key=lambda path: natural_key(path.name))


def _is_stack(path: Path) -> bool:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim == 3
    except DAMAGED_ARRAY:
        return False


def _read_grey(path: Path) -> np.ndarray:
    return read_image(path, cv2.IMREAD_GRAYSCALE)


def _read_volume(path: Path) -> list[np.ndarray]:
    return split_volume(read_mat(path, ["volLabel"]), path)


def split_volume(variables: Variables, path: Path) -> list[np.ndarray]:
    """The masks of ``volLabel``: a cell of (H, W) a frame, or one (H, W, T) array.

    Raises:
        UserError: there is none among the variables.
    """
    volume = variables.get("volLabel")
    if volume is None:
        raise UserError(f"{path}: no 'volLabel' in it; fetch it again")
    if isinstance(volume, list):
        return volume
    return [volume] if volume.ndim < 3 else list(np.moveaxis(volume, -1, 0))


def _read_stack(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)
