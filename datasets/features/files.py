"""Feature arrays on disk: their headers, checked, and bounded reads of their rows.

Rows are read with ``preadv`` straight into the caller's memory. A memory map would do the same
work, but every page it touches counts as this process's memory until the kernel needs it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import DAMAGED_ARRAY

SHAPES = "(snippets, crops, D), or (snippets, D) for one crop"


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
        view = memoryview(rows.reshape(-1).view(np.uint8))
        position, done = self.offset + first * self.row_bytes, 0
        with self.path.open("rb", buffering=0) as handle:
            while done < len(view):
                count = os.preadv(handle.fileno(), [view[done:]], position + done)
                if count == 0:
                    raise UserError(f"{self.path}: shorter than its header says; write it again")
                done += count


def open_feature_file(path: Path) -> FeatureFile:
    """Read and check the header of a feature array.

    Raises:
        UserError: missing, truncated or foreign file, wrong number of axes, or not floating-point.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such feature file; run pre_process/extract_features.py or correct the path"
        ) from None
    except DAMAGED_ARRAY as error:
        raise UserError(f"{path}: not a readable .npy array ({error}); write it again") from None
    if not isinstance(array, np.memmap) or array.ndim not in (2, 3) or not array.size:
        shape = getattr(array, "shape", "an archive")
        raise UserError(f"{path}: holds {shape}, but features are {SHAPES}")
    if array.dtype not in (np.float16, np.float32, np.float64) or not array.flags.c_contiguous:
        raise UserError(
            f"{path}: holds {array.dtype}{'' if array.flags.c_contiguous else ' in Fortran order'}"
            "; features are float16, float32 or float64 in C order: save them so"
        )
    crops = array.shape[1] if array.ndim == 3 else 1
    return FeatureFile(path, len(array), crops, array.shape[-1], array.dtype, array.offset)


def require_alike(files: list[FeatureFile]) -> None:
    """Raise ``UserError`` naming the first file that differs from the first one."""
    first = files[0]
    for file in files[1:]:
        if (file.crops, file.size, file.dtype) != (first.crops, first.size, first.dtype):
            raise UserError(
                f"{file.path}: {file.crops} crops of {file.size} {file.dtype} values, but "
                f"{first.path.name} has {first.crops} of {first.size} {first.dtype}; extract all "
                "videos of a folder with the same settings"
            )
