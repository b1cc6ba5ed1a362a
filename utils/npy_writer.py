"""A .npy file that grows along its first axis while it is written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from utils.files import naming


class NpyWriter:
    """Append rows to a ``.npy`` file; its header tells the true count once it is closed.

    NumPy pads the header of an array so that its first axis may grow in place, which lets a video
    of any length be written with the memory of one frame.

    Args:
        path: the file; an existing one is replaced.
        row_shape: shape of one row, which is the array's shape without its first axis.
        dtype: element type.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self.row_shape = row_shape
        self.dtype = np.dtype(dtype)
        self.num_rows = 0
        self._path = Path(path)
        self._handle = self._path.open("wb")
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """Add ``rows`` (n, *row_shape), converted to the file's element type."""
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {rows.shape[1:]} in an array of {self.row_shape}")
        with naming(self._path):
            self._handle.write(np.ascontiguousarray(rows, self.dtype).data)
        self.num_rows += len(rows)

    def close(self) -> None:
        """Write the header with the true count and close the file."""
        with naming(self._path):
            self._handle.seek(0)
            self._write_header()
            self._handle.close()

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(OSError):  # of what is thrown away
                self._handle.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._handle,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.num_rows, *self.row_shape),
            },
        )
