"""Write a video that is whole, or not there."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from utils.errors import UserError

_CODEC = "mp4v"  # MPEG-4 part 2: in every build of OpenCV, played by every player


class VideoOut:
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

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (H,W,3) uint8 BGR of the first one's size, sides even.

        Raises:
            UserError: OpenCV cannot write videos there.
        """
        if self._writer is None:
            self._open(picture)
        self._writer.write(picture)

    def fits(self, picture: np.ndarray) -> bool:
        """Whether a picture has the size of those before."""
        return self._size in (None, picture.shape[:2])

    def close(self) -> None:
        """Finish the file; without a picture there is none."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._temporary.replace(self.path)

    def __enter__(self) -> VideoOut:
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

    def _open(self, picture: np.ndarray) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = picture.shape[:2]
        height, width = self._size
        codec = cv2.VideoWriter_fourcc(*_CODEC)
        self._writer = cv2.VideoWriter(str(self._temporary), codec, self._fps, (width, height))
        if not self._writer.isOpened():
            raise UserError(
                f"{self.path}: OpenCV cannot write a video there; check the folder, or pass "
                "--no_video"
            )
