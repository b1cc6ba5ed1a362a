"""Where the cubes of some videos are: numbers alone, their pixels are not kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.manifest import VideoEntry
from pre_process.cubes.extractor import FrameCubes


class VideoCubes:
    """The index of cubes that are scored as they are extracted.

    Attributes:
        videos: names; num_frames: their lengths.
    """

    def __init__(self, entries: Sequence[VideoEntry]) -> None:
        self.videos = [entry.name for entry in entries]
        self.num_frames = {entry.name: entry.num_frames for entry in entries}
        self._rows: list[tuple[int, int, np.ndarray]] = []
        self._count = 0

    def __len__(self) -> int:
        """Number of cubes."""
        return self._count

    def add(self, video: int, frame: int, boxes: np.ndarray) -> None:
        """Append the cubes of a frame: ``boxes`` (n,4) float32."""
        self._rows.append((video, frame, boxes))
        self._count += len(boxes)

    @property
    def video_index(self) -> np.ndarray:
        """(n,) int, index into ``videos``, one per cube."""
        return self._repeated([video for video, _, _ in self._rows])

    @property
    def frames(self) -> np.ndarray:
        """(n,) int, frame in the video."""
        return self._repeated([frame for _, frame, _ in self._rows])

    @property
    def boxes(self) -> np.ndarray:
        """(n,4) float32, x1,y1,x2,y2 in pixels."""
        return np.concatenate([np.zeros((0, 4), np.float32), *(boxes for *_, boxes in self._rows)])

    def _repeated(self, values: Sequence[int]) -> np.ndarray:
        counts = np.array([len(boxes) for *_, boxes in self._rows], int)
        return np.repeat(np.array(values, int), counts)


def join_cubes(frames: Sequence[FrameCubes]) -> tuple[np.ndarray, np.ndarray]:
    """Appearance and motion of the cubes of several frames, one batch."""
    return (
        np.concatenate([cubes.appearance for cubes in frames]),
        np.concatenate([cubes.motion for cubes in frames]),
    )
