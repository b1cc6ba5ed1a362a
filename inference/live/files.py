"""The files of a live run: rows appended safely, in parts, so that the disk does not fill up."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import finish_all
from utils.files import naming
from visualization.video_writer import VideoWriter

FRAME_COLUMNS = ("video", "frame", "score", "label", "time")


class AppendedTable:
    """A CSV file that always ends with a whole line.

    Args:
        path: written anew.
        columns: its first line.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        # Line buffering hands every row to the system at once: killing the program loses none.
        self._handle = path.open("w", buffering=1, newline="", encoding="utf-8")
        self._writer = csv.writer(self._handle, lineterminator="\n")
        self.rows([columns])

    def rows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows."""
        with naming(self.path):
            self._writer.writerows(rows)

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
        self._open()

    def frame(self, row: Sequence[Any] | None, cube_rows: Iterable[Sequence[Any]]) -> None:
        """Append what belongs to one frame; ``row`` is ``None`` while it has no score."""
        if row is not None:
            self._frames.rows([row])
        self._cubes.rows(cube_rows)

    def picture(self, picture: np.ndarray) -> None:
        """Append an annotated picture; one of another size begins a new part."""
        if self._video is None:
            return
        if not self._video.fits(picture):
            self.roll()
        self._video.write(picture)

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
        video = VideoWriter(self._folder / "annotated.mp4", self._fps, in_fragments=True)
        self._video = video if self.has_video else None


def time_text(clock: float) -> str:
    """A time of day in UTC, ISO 8601 with milliseconds; ``clock`` counts seconds since 1970."""
    return datetime.fromtimestamp(clock, UTC).isoformat(timespec="milliseconds")


def numbered(path: Path, part: int) -> Path:
    """The name of a finished part: ``frame_scores.0001.csv``."""
    return path.with_name(f"{path.stem}.{part:04d}{path.suffix}")
