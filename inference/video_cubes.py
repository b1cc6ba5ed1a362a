"""Cubes of whole videos, scored as they are extracted: nothing but numbers is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from datasets.manifest import VideoEntry
from datasets.videos import read_frames
from engine.scoring.network import CubeScorer
from evaluation.scores import Errors, collect_errors
from pre_process.cubes.extractor import CubeExtractor, FrameCubes


class StreamedCubes:
    """Where the cubes of some videos are; filled while ``batches`` is gone through.

    Attributes:
        videos: names; num_frames: their lengths.
        video_index, frames: (n,) int; boxes: (n,4) float32; one a cube.
    """

    def __init__(self, entries: Sequence[VideoEntry]) -> None:
        self.videos = [entry.name for entry in entries]
        self.num_frames = {entry.name: entry.num_frames for entry in entries}
        self._entries = entries
        self._frames: list[FrameCubes] = []
        self._videos: list[int] = []

    def batches(
        self, extractor: CubeExtractor, batch_size: int, report: Callable[[int], object]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Extract all videos.

        Args:
            extractor: built with any batch size.
            batch_size: cubes, from which on a batch is given.
            report: called with the number of frames read since the last call.

        Yields:
            appearance (B,5,32,32,3) uint8 and motion (B,4,32,32,2) float16.
        """
        waiting: list[FrameCubes] = []
        for video, cubes in self._stream(extractor, report):
            if len(cubes.boxes):
                waiting.append(cubes)
                self._keep(video, cubes)
            if sum(len(each.boxes) for each in waiting) >= batch_size:
                yield join_cubes(waiting)
                waiting = []
        if waiting:
            yield join_cubes(waiting)

    def _stream(
        self, extractor: CubeExtractor, report: Callable[[int], object]
    ) -> Iterator[tuple[int, FrameCubes]]:
        for video, entry in enumerate(self._entries):
            extractor.start()
            for frame in read_frames(entry):
                yield from ((video, cubes) for cubes in extractor.push(frame))
                report(1)
            yield from ((video, cubes) for cubes in extractor.flush())

    def _keep(self, video: int, cubes: FrameCubes) -> None:
        none = np.empty(0)
        self._videos.append(video)
        self._frames.append(FrameCubes(cubes.index, cubes.boxes, none, none))

    @property
    def video_index(self) -> np.ndarray:
        """(n,) int, index into ``videos``."""
        return np.repeat(np.array(self._videos, int), self._counts())

    @property
    def frames(self) -> np.ndarray:
        """(n,) int, frame in the video."""
        return np.repeat(np.array([cubes.index for cubes in self._frames], int), self._counts())

    @property
    def boxes(self) -> np.ndarray:
        """(n,4) float32, x1,y1,x2,y2 in pixels."""
        return np.concatenate([np.zeros((0, 4), np.float32), *(c.boxes for c in self._frames)])

    def _counts(self) -> np.ndarray:
        return np.array([len(cubes.boxes) for cubes in self._frames], int)


def join_cubes(frames: Sequence[FrameCubes]) -> tuple[np.ndarray, np.ndarray]:
    """Appearance and motion of the cubes of several frames, one batch."""
    return (
        np.concatenate([cubes.appearance for cubes in frames]),
        np.concatenate([cubes.motion for cubes in frames]),
    )


def score_cubes(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], scorer: CubeScorer, names: Sequence[str]
) -> Errors:
    """Errors of all cubes of ``batches``, (n,) float64 each; empty where there is no cube.

    Args:
        batches: appearance and motion.
        scorer: what scores them.
        names: of the errors.
    """
    first = next(batches, None)
    if first is None:
        return {name: np.zeros(0) for name in names}

    def all_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield first
        yield from batches

    return collect_errors(all_batches(), lambda batch: scorer(*batch))
