"""From live frames to the scores of their snippets, strictly in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from inference.frd.stream import SnippetStream, Values
from inference.live.frame_buffer import LiveFrame
from inference.live.scorer import ScoredFrame
from pre_process.cubes.extractor import FrameCubes

NO_BOXES = np.zeros((0, 4), np.float32)
WithValues = tuple[LiveFrame, Values | None]


class LiveSnippets:
    """Scores snippets of frames as they come; a frame waits until its window is full.

    Behind lost frames, and where a camera was connected again, a new snippet is begun. The
    counterpart of ``inference.live.scorer.LiveExtractor``.

    Args:
        stream: new.
    """

    def __init__(self, stream: SnippetStream[LiveFrame]) -> None:
        self._stream = stream

    def push(self, frames: Sequence[LiveFrame]) -> list[WithValues]:
        """Take the next frames; give those that are ready."""
        ready: list[WithValues] = []
        for live in frames:
            if live.gap:
                ready += self._stream.finish(is_end=False)
                self._stream.start()
            ready += self._stream.push(live, live.frame)
        return ready

    def finish(self) -> list[WithValues]:
        """Give the frames that are left over."""
        return self._stream.finish()


def scored_frames(ready: Iterable[WithValues]) -> list[ScoredFrame]:
    """Frames as a live run writes them; they have no cubes."""
    return [
        ScoredFrame(
            live,
            FrameCubes(live.index, NO_BOXES, NO_BOXES, NO_BOXES),
            {},
            np.zeros(0),
            None if values is None else values["score"],
            is_whole=True,
        )
        for live, values in ready
    ]
