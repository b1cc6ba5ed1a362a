"""What is kept of scored videos: numbers of their cubes and a few pictures, no other pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.scores import Errors
from pre_process.cubes.extractor import FrameCubes


class KeptFrame(NamedTuple):
    """A frame that a report may show, with the cube of its highest score.

    Attributes:
        cube: number of the cube in its video; frame: where it is.
        appearance: (5,32,32,3) uint8; motion: (4,32,32,2) float16.
        picture: the frame as JPEG.
    """

    cube: int
    frame: int
    appearance: np.ndarray
    motion: np.ndarray
    picture: bytes


@dataclass(frozen=True)
class VideoResult:
    """A scored video of T frames with n cubes.

    Attributes:
        name: of the video.
        seconds: (T,) when each frame begins.
        frames: (n,) int, the frame of each cube; boxes: (n,4) float32 x1,y1,x2,y2 in pixels.
        errors: of the cubes, each (n,).
        kept: frames that a report may show.
    """

    name: str
    seconds: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray
    errors: Errors
    kept: Sequence[KeptFrame]


class ResultCollector:
    """Gathers a ``VideoResult`` frame by frame.

    Args:
        name: of the video; names: of the errors.
    """

    def __init__(self, name: str, names: Sequence[str]) -> None:
        self._name = name
        self._seconds: list[float] = []
        self._counts: list[int] = []
        self._boxes = [np.zeros((0, 4), np.float32)]
        self._errors: dict[str, list[np.ndarray]] = {each: [np.zeros(0)] for each in names}
        self.num_cubes = 0

    def add(self, seconds: float, boxes: np.ndarray, errors: Errors) -> None:
        """Append a frame: when it begins, its cubes' boxes (k,4) and their errors."""
        self._seconds.append(seconds)
        self._counts.append(len(boxes))
        self._boxes.append(boxes)
        for name, values in errors.items():
            self._errors.setdefault(name, []).append(values)
        self.num_cubes += len(boxes)

    def result(self, kept: Sequence[KeptFrame]) -> VideoResult:
        """All frames together."""
        return VideoResult(
            self._name,
            np.array(self._seconds),
            np.repeat(np.arange(len(self._counts)), self._counts),
            np.concatenate(self._boxes),
            {name: np.concatenate(values) for name, values in self._errors.items()},
            kept,
        )


class VideoCubes:
    """The cubes of scored videos; see ``evaluation.checkpoint.CubeIndex``.

    Attributes:
        videos: names; num_frames: their lengths.
        video_index: (n,) int, index into ``videos``, one per cube; frames, boxes: as in results.
        errors: of all cubes, each (n,).
    """

    def __init__(self, results: Sequence[VideoResult]) -> None:
        self.videos = [each.name for each in results]
        self.num_frames = {each.name: len(each.seconds) for each in results}
        counts = [len(each.frames) for each in results]
        self.video_index = np.repeat(np.arange(len(results)), counts)
        self.frames = np.concatenate([each.frames for each in results])
        self.boxes = np.concatenate([each.boxes for each in results])
        names = dict.fromkeys(name for each in results for name in each.errors)
        self.errors: Errors = {  # a video without a cube does not know all of them
            name: np.concatenate([each.errors.get(name, np.zeros(0)) for each in results])
            for name in names
        }

    def __len__(self) -> int:
        """Number of cubes."""
        return len(self.frames)


def join_cubes(frames: Sequence[FrameCubes]) -> tuple[np.ndarray, np.ndarray]:
    """Appearance and motion of the cubes of several frames, one batch."""
    return (
        np.concatenate([cubes.appearance for cubes in frames]),
        np.concatenate([cubes.motion for cubes in frames]),
    )
