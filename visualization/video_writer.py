"""Write a video that is whole, or not there: H.264, as browsers play it."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from utils.errors import UserError

_CODEC = "libx264"
_TICKS = 90_000  # a second, of pictures that have times of their own
_OPTIONS = {"preset": "veryfast", "crf": "23"}
_WHOLE = {"movflags": "+faststart"}  # the index first: plays while it loads
# An index in every fragment of a second: what a killed program has written plays; it loses some
# seconds that the encoder still held.
_IN_FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}


class VideoWriter:
    """Writes pictures to a temporary name, which becomes ``path`` on ``close``.

    Args:
        path: ``.mp4``.
        fps: frames per second.
        in_fragments: for long runs: even the temporary file of a killed program plays.
    """

    def __init__(self, path: Path, fps: float, in_fragments: bool = False) -> None:
        self.path, self._in_fragments = path, in_fragments
        self._fps = Fraction(fps).limit_denominator(1001)
        self._temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        self._container: Any = None
        self._stream: Any = None
        self._size: tuple[int, int] | None = None
        self._written = 0
        self._began: float | None = None
        self._tick = -1

    def write(self, picture: np.ndarray, seconds: float | None = None) -> None:
        """Append a picture (H,W,3) uint8 BGR of the first one's size, sides even.

        Args:
            picture: the next one.
            seconds: when it is to be shown, from any start; ``None``, for all pictures of a video:
                they follow at ``fps``.

        Raises:
            UserError: a video cannot be written there, or the disk is full; what there is of a
                video in fragments stays under its temporary name.
        """
        if self._container is None:
            self._open(picture)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
        if seconds is not None:
            self._set_time(frame, seconds)
        self._encode(frame)
        self._written += 1

    def fits(self, picture: np.ndarray) -> bool:
        """Whether a picture has the size of those before."""
        return self._size in (None, picture.shape[:2])

    def fitted(self, picture: np.ndarray) -> np.ndarray:
        """A picture at the size of those before, its shape kept, with black beside it."""
        if self.fits(picture) or self._size is None:
            return picture
        scale = min(np.divide(self._size, picture.shape[:2]))
        height, width = (max(1, int(scale * side)) for side in picture.shape[:2])
        canvas = np.zeros((*self._size, 3), np.uint8)
        top, left = (self._size[0] - height) // 2, (self._size[1] - width) // 2
        canvas[top : top + height, left : left + width] = cv2.resize(picture, (width, height))
        return canvas

    def close(self) -> None:
        """Finish the file; without a picture there is none.

        Raises:
            UserError: it is not whole; see ``write``.
        """
        if self._container is None:
            return
        self._encode(None)
        container, self._container = self._container, None
        try:
            container.close()
        except OSError as error:
            self._refuse(error)
        self._temporary.replace(self.path)

    def keep_written(self) -> None:
        """Give what was written of a video in fragments its name, after ``write`` failed."""
        self._abandon()
        if self._temporary.exists():
            self._temporary.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._container is not None:
            self._abandon()
            self._temporary.unlink(missing_ok=True)

    def _set_time(self, frame: Any, seconds: float) -> None:
        if self._began is None:
            self._began = seconds
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._tick = max(self._tick + 1, round((seconds - self._began) * _TICKS))
        frame.pts, frame.time_base = self._tick, Fraction(1, _TICKS)

    def _encode(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        self._abandon()
        if not self._in_fragments:
            self._temporary.unlink(missing_ok=True)
        raise UserError(
            f"{self.path}: its {self._written} pictures were not written whole ({error.strerror}); "
            "most often the disk is full: free some space and run again, or pass --no_video"
        ) from None

    def _abandon(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(OSError):
                container.close()

    def _open(self, picture: np.ndarray) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size, self._written = picture.shape[:2], 0
        try:
            options = _IN_FRAGMENTS if self._in_fragments else _WHOLE
            self._container = av.open(str(self._temporary), "w", options=options)
            self._stream = self._container.add_stream(_CODEC, rate=self._fps, options=_OPTIONS)
            if self._in_fragments:
                self._stream.codec_context.gop_size = max(1, round(self._fps))
        except (OSError, KeyError, ValueError) as error:
            self._abandon()
            raise UserError(
                f"{self.path}: a video cannot be written there ({error}); check the folder, or "
                "pass --no_video"
            ) from None
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = max(1, cv2.getNumThreads())
