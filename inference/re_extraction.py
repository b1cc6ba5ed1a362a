"""Cubes cut a second time, for a look at some whose pixels were not kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from datasets.cubes.files import NUM_FRAMES
from datasets.manifest import VideoEntry
from datasets.videos import read_frames
from pre_process.cubes.extractor import CubeExtractor, FrameCubes
from pre_process.flow.base import FlowEstimator


def re_extract(
    entry: VideoEntry, wanted: Mapping[int, np.ndarray], flow: FlowEstimator
) -> Iterator[FrameCubes]:
    """Cut known boxes out of a video.

    Args:
        entry: the video; it is read up to the last wanted frame.
        wanted: frame index -> (n,4) boxes in it.
        flow: the estimator that the cubes were made with.

    Yields:
        The cubes of the wanted frames, in order of the frames, as they were.
    """
    history: deque[np.ndarray] = deque(maxlen=NUM_FRAMES)
    last = max(wanted, default=-1)
    for index, frame in zip(range(last + 1), read_frames(entry), strict=False):
        history.append(frame)
        if index in wanted:
            # A cube depends on its own five frames only.
            extractor = CubeExtractor(_KnownBoxes(wanted[index]), flow, batch_size=NUM_FRAMES + 1)
            for past in history:
                extractor.push(past)
            cubes = extractor.flush()[-1]
            yield FrameCubes(index, cubes.boxes, cubes.appearance, cubes.motion)


class _KnownBoxes:
    """A box source that knows the boxes of the last frame and finds none before it."""

    needs_following = False

    def __init__(self, boxes: np.ndarray) -> None:
        self._boxes = boxes

    def start(self, entry: VideoEntry | None = None) -> None:
        """Nothing to forget."""

    def __call__(
        self, frames: Sequence[np.ndarray], following: np.ndarray | None
    ) -> list[np.ndarray]:
        none = np.zeros((0, 4), np.float32)
        return [*(none for _ in frames[1:]), self._boxes]
