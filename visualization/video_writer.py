"""Write a video that is whole, or not there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from utils.errors import UserError

_CODEC = "mp4v"  # MPEG-4 part 2: in every build of OpenCV, played by every player
_LOOK_EVERY = 50  # pictures
_LEAST_FREE = 2**20  # bytes


class VideoWriter:
    """Writes pictures to a temporary name, which becomes ``path`` on ``close``.

    Args:
        path: ``.mp4``, or ``.mkv``, of which even the temporary file of a killed program plays.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._fps = fps
        self._temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None
        self._written = 0

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (H,W,3) uint8 BGR of the first one's size, sides even.

        Raises:
            UserError: OpenCV cannot write videos there.
            OSError: the disk is full.
        """
        if self._writer is None:
            self._open(picture)
        if self._written % _LOOK_EVERY == 0:
            self._require_space()
        self._writer.write(picture)
        self._written += 1

    def fits(self, picture: np.ndarray) -> bool:
        """Whether a picture has the size of those before."""
        return self._size in (None, picture.shape[:2])

    def close(self) -> None:
        """Finish the file; without a picture there is none.

        Raises:
            UserError: it is not whole; what there is of a ``.mkv`` stays under its temporary name.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not _reaches(self._temporary, self._written):
            if self.path.suffix != ".mkv":
                self._temporary.unlink(missing_ok=True)
            raise UserError(
                f"{self.path}: its {self._written} pictures were not written whole; most often the "
                "disk is full: free some space and run again, or pass --no_video"
            )
        self._temporary.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._writer.release()
            self._temporary.unlink(missing_ok=True)

    def _require_space(self) -> None:
        """OpenCV goes on when the disk is full, with a line of its own for every picture."""
        if shutil.disk_usage(self.path.parent).free < _LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _open(self, picture: np.ndarray) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size, self._written = picture.shape[:2], 0
        height, width = self._size
        codec = cv2.VideoWriter_fourcc(*_CODEC)
        self._writer = cv2.VideoWriter(str(self._temporary), codec, self._fps, (width, height))
        if not self._writer.isOpened():
            raise UserError(
                f"{self.path}: OpenCV cannot write a video there; check the folder, or pass "
                "--no_video"
            )


def _reaches(path: Path, count: int) -> bool:
    """Whether a video can be read to its end; the count that a header tells may be of more."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            return False
        # A .mkv tells its length in time, which is rounded: the last but one is found for sure.
        capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, count - 2))
        return capture.grab()
    finally:
        capture.release()
