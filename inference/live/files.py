"""The files of a live run: rows appended safely, in parts, so that the disk does not fill up."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError, finish_all
from utils.files import naming
from visualization.video_writer import VideoWriter

logger = logging.getLogger(__name__)

FRAME_COLUMNS = ("video", "frame", "score", "label", "time")


class AppendedTable:
    """A CSV file that always ends with a whole line.

    Args:
        path: written anew.
        columns: its first line.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        # Rows are handed to the system at once: killing the program loses none.
        self._handle = path.open("wb", buffering=0)
        self._size = 0
        self.rows([columns])

    def rows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows, all or none.

        Raises:
            OSError: the disk is full; the rows before are as they were.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        data = text.getvalue().encode()
        with naming(self.path):
            try:
                self._append(data)
            except OSError:
                self._handle.truncate(self._size)
                self._handle.seek(self._size)
                raise
        self._size += len(data)

    def _append(self, data: bytes) -> None:
        while data:  # a disk that is nearly full takes a part first
            data = data[self._handle.write(data) :]

    def sync(self) -> None:
        """Have the disk hold all rows, in case the power goes."""
        with naming(self.path):
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Sync and close."""
        with naming(self.path):
            finish_all(self.sync, self._handle.close)


class LiveResultFiles:
    """``frame_scores.csv``, ``cube_scores.csv`` and ``annotated.mp4`` in a folder.

    ``roll`` ends the present part: its files get a number (``frame_scores.0001.csv``) and new ones
    are begun; the oldest parts are removed.

    Args:
        folder: exists.
        fps: of the annotated video.
        with_video: whether there is one.
        keep_parts: numbered parts that are kept; 0: all.
        cube_columns: of ``cube_scores.csv``.
    """

    def __init__(
        self,
        folder: Path,
        fps: float,
        with_video: bool,
        keep_parts: int,
        cube_columns: Sequence[str],
    ) -> None:
        self._cube_columns = cube_columns
        self._folder, self._fps, self.has_video = folder, fps, with_video
        self._keep_parts = keep_parts
        self._part = 0
        self._video: VideoWriter | None = None
        self._open()

    def frame(self, row: Sequence[Any] | None, cube_rows: Iterable[Sequence[Any]]) -> None:
        """Append what belongs to one frame; ``row`` is ``None`` while it has no score."""
        if row is not None:
            self._frames.rows([row])
        self._cubes.rows(cube_rows)

    def picture(self, picture: np.ndarray) -> None:
        """Append an annotated picture; one of another size is fitted into the part's.

        A new part for each would cost the old ones, of which a few are kept, whenever a camera's
        size comes and goes. Where writing fails, the part's video ends there, and no more.
        """
        if self._video is None:
            return
        try:
            self._video.write(self._video.fitted(picture))
        except UserError as error:
            logger.warning("%s. Scoring goes on without this video until its next part", error)
            self._video.keep_written()
            self._video = None

    def sync(self) -> None:
        """Have the disk hold all rows."""
        self._frames.sync()
        self._cubes.sync()

    def roll(self) -> None:
        """End this part and begin the next."""
        self.close()
        self._part += 1
        for name in ("frame_scores.csv", "cube_scores.csv", "annotated.mp4"):
            path = self._folder / name
            if path.exists():
                path.replace(numbered(path, self._part))
            if self._keep_parts:
                numbered(path, self._part - self._keep_parts).unlink(missing_ok=True)
        self._open()

    def close(self) -> None:
        """End the files."""
        video = [self._video.close] if self._video is not None else []
        finish_all(self._frames.close, self._cubes.close, *video)

    def _open(self) -> None:
        self._frames = AppendedTable(self._folder / "frame_scores.csv", FRAME_COLUMNS)
        self._cubes = AppendedTable(self._folder / "cube_scores.csv", self._cube_columns)
        if self.has_video:
            self._video = VideoWriter(self._folder / "annotated.mp4", self._fps, in_fragments=True)


def time_text(clock: float) -> str:
    """A time of day in UTC, ISO 8601 with milliseconds; ``clock`` counts seconds since 1970."""
    return datetime.fromtimestamp(clock, UTC).isoformat(timespec="milliseconds")


def numbered(path: Path, part: int) -> Path:
    """The name of a finished part: ``frame_scores.0001.csv``."""
    return path.with_name(f"{path.stem}.{part:04d}{path.suffix}")
