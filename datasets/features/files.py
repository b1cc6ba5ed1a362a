"""Feature arrays on disk: their headers, checked, and bounded reads of their rows.

Rows are read with ``preadv`` straight into the caller's memory. A memory map would do the same
work, but every page it touches counts as this process's memory until the kernel needs it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from utils.errors import UserError
from utils.files import DAMAGED_ARRAY

Axes = Literal["auto", "snippets_first", "crops_first"]

SHAPES = "(snippets, crops, D), or (snippets, D) for one crop"
MOST_CROPS = 10  # of any features in circulation
KNOWN_CROPS = (1, 5, 10)
SWAPPED = (
    "features are (snippets, crops, D), and this looks like (crops, snippets, D): set "
    "data.axes=crops_first to read it so, or data.axes=snippets_first if it is right as it is"
)


@dataclass(frozen=True)
class FeatureFile:
    """One ``.npy`` file of snippet features; ``offset`` is where its data start, in bytes."""

    path: Path
    num_snippets: int
    crops: int
    size: int
    dtype: np.dtype
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one snippet."""
        return self.crops * self.size * self.dtype.itemsize

    def read_into(self, first: int, rows: np.ndarray) -> None:
        """Fill ``rows`` (n, crops, D; contiguous, of this file's dtype) from row ``first`` on.

        Raises:
            UserError: the file is shorter than its header says.
        """
        view = rows.reshape(-1).view(np.uint8).data
        position, done = self.offset + first * self.row_bytes, 0
        with self.path.open("rb", buffering=0) as handle:
            while done < len(view):
                count = os.preadv(handle.fileno(), [view[done:]], position + done)
                if count == 0:
                    raise UserError(f"{self.path}: shorter than its header says; write it again")
                done += count


@dataclass(frozen=True)
class CropFiles:
    """The features of one video whose crops lie apart: each of ``parts`` holds one of them."""

    parts: tuple[FeatureFile, ...]

    @property
    def path(self) -> Path:
        """Where the first crop lies."""
        return self.parts[0].path

    @property
    def num_snippets(self) -> int:
        """Snippets, the same for each crop."""
        return self.parts[0].num_snippets

    @property
    def crops(self) -> int:
        """Number of crops."""
        return len(self.parts)

    @property
    def size(self) -> int:
        """Values of a snippet's crop."""
        return self.parts[0].size

    @property
    def dtype(self) -> np.dtype:
        """Of the stored values."""
        return self.parts[0].dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one snippet."""
        return self.crops * self.parts[0].row_bytes

    def read_into(self, first: int, rows: np.ndarray) -> None:
        """As ``FeatureFile.read_into``."""
        one = np.empty((len(rows), 1, self.size), self.dtype)
        for crop, part in enumerate(self.parts):
            part.read_into(first, one)
            rows[:, crop] = one[:, 0]


def open_feature_file(path: Path, axes: Axes = "auto") -> FeatureFile | CropFiles:
    """Read and check the header of a feature array.

    Args:
        path: the file.
        axes: what comes first in an array of three axes; ``auto``: snippets, and an array in which
            this cannot be is refused.

    Raises:
        UserError: missing, truncated or foreign file, wrong number or order of axes, or not
            floating-point.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such feature file; run pre_process/extract_features.py or correct the path"
        ) from None
    except DAMAGED_ARRAY as error:
        raise UserError(f"{path}: not a readable .npy array ({explain(path, error)})") from None
    if not isinstance(array, np.memmap) or array.ndim not in (2, 3) or not array.size:
        shape = getattr(array, "shape", "an archive")
        raise UserError(f"{path}: holds {shape}, but features are {SHAPES}")
    if array.dtype not in (np.float16, np.float32, np.float64) or not array.flags.c_contiguous:
        raise UserError(
            f"{path}: holds {array.dtype}{'' if array.flags.c_contiguous else ' in Fortran order'}"
            "; features are float16, float32 or float64 in C order: save them so"
        )
    if array.ndim == 3 and axes == "crops_first":
        return _split_crops(path, array)
    crops = array.shape[1] if array.ndim == 3 else 1
    if axes == "auto" and crops > MOST_CROPS:
        raise UserError(f"{path}: holds {array.shape}; {_explain_axes(array.shape)}")
    return FeatureFile(path, len(array), crops, array.shape[-1], array.dtype, array.offset)


def explain(path: Path, error: Exception) -> str:
    """Why an array cannot be read, without NumPy's advice to load it unsafely, and what to do."""
    with path.open("rb") as handle:
        start = handle.read(6)
    if start[:2] != b"PK" and start != b"\x93NUMPY":
        return "no NumPy header: a raw memory map or another file; write it with numpy.save"
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return "an array of objects; save one array of numbers"
    return f"{error}; write it again"


def _split_crops(path: Path, array: np.memmap) -> CropFiles:
    crops, snippets, size = array.shape
    step = snippets * size * array.dtype.itemsize
    return CropFiles(
        tuple(
            FeatureFile(path, snippets, 1, size, array.dtype, array.offset + crop * step)
            for crop in range(crops)
        )
    )


def _explain_axes(shape: tuple[int, ...]) -> str:
    if shape[0] > MOST_CROPS:
        return (
            f"{shape[1]} crops are more than any features in circulation have. (videos, segments, "
            "D) cannot be aligned with frames: use features of every snippet; if the array is "
            "right as it is, set data.axes=snippets_first"
        )
    return SWAPPED


def join_crops(parts: Sequence[FeatureFile | CropFiles], video: str) -> FeatureFile | CropFiles:
    """One video from a file a crop.

    Raises:
        UserError: the files differ in length, size or dtype, or one holds several crops.
    """
    require_alike(parts)
    singles = [part for part in parts if isinstance(part, FeatureFile) and part.crops == 1]
    lengths = sorted({part.num_snippets for part in parts})
    if len(singles) < len(parts):
        raise UserError(
            f"{parts[0].path}: named as one crop of {video}, but holds {parts[0].crops}; keep one "
            "file a video, or (snippets, D) in one file a crop"
        )
    if len(lengths) > 1:
        raise UserError(
            f"{parts[0].path.parent}: the crops of {video} have {lengths[0]} to {lengths[-1]} "
            "snippets; extract this video again, or rename the files if they are no crops"
        )
    return CropFiles(tuple(singles))


def require_alike(files: Sequence[FeatureFile | CropFiles]) -> None:
    """Raise ``UserError`` naming the first file that differs from the first one."""
    first = files[0]
    for file in files[1:]:
        if (file.crops, file.size, file.dtype) != (first.crops, first.size, first.dtype):
            raise UserError(
                f"{file.path}: {file.crops} crops of {file.size} {file.dtype} values, but "
                f"{first.path.name} has {first.crops} of {first.size} {first.dtype}; extract all "
                "videos of a folder with the same settings"
            )


def require_snippets_first(files: Sequence[FeatureFile | CropFiles]) -> None:
    """Raise ``UserError`` where all files look like (crops, snippets, D).

    They do when their first axis is one known number of crops everywhere, and the second is not.
    """
    firsts = {file.num_snippets for file in files}
    seconds = {file.crops for file in files}
    if len(firsts) == 1 and firsts <= {5, 10} and not seconds <= set(KNOWN_CROPS):
        file = next(file for file in files if file.crops not in KNOWN_CROPS)
        raise UserError(
            f"{file.path}: holds {(file.num_snippets, file.crops, file.size)}; {SWAPPED}"
        )
