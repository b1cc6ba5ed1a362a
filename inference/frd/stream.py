"""Frames in, the same frames with what their snippet is scored by out, in the order of time.

Whole videos and cameras go through the same object, so their scores of a video are equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from pre_process.features.build import Backbone

Values = Mapping[str, float]
Item = TypeVar("Item")


class SnippetStream(Generic[Item]):
    """Scores snippets of the frames of one video or camera; it remembers one snippet.

    The first score is that of the first ``frames`` frames, which all get it. After that a window of
    the last ``frames`` frames is scored every ``stride`` frames, for those frames. With a stride of
    a whole snippet, the default, no frame belongs to two, as in training.

    Args:
        backbone: frames to features.
        score: maps features (1, crops, D) to named numbers.
        frames: in a snippet.
        stride: frames from one score to the next; ``None``: a snippet's.
    """

    def __init__(
        self,
        backbone: Backbone,
        score: Callable[[np.ndarray], Values],
        frames: int,
        stride: int | None = None,
    ) -> None:
        self._backbone, self._score, self._frames = backbone, score, frames
        self._stride = min(stride or frames, frames)
        self.start()

    def start(self) -> None:
        """Begin another video, or anew behind lost frames."""
        self._window: deque[Any] = deque(maxlen=self._frames)
        self._waiting: list[Item] = []
        self._latest: Values | None = None

    def push(self, item: Item, picture: np.ndarray) -> list[tuple[Item, Values | None]]:
        """Take the next frame, (H,W,3) uint8 BGR; give the frames that are scored by now.

        Args:
            item: what stands for the frame in the answer.
        """
        self._window.append(self._backbone.prepare(picture))
        self._waiting.append(item)
        if len(self._window) < self._frames or len(self._waiting) < self._stride:
            return []
        self._latest = self._score(self._backbone([list(self._window)]))
        return self._given()

    def finish(self, is_end: bool = True) -> list[tuple[Item, Values | None]]:
        """Give the frames left over: with the last score, as ``frd_eval.py`` does.

        Args:
            is_end: of the video. One shorter than a snippet is filled up with its last frame. Where
                frames are merely lost, frames that fill no snippet have no values.
        """
        if is_end and self._latest is None and self._waiting:
            window = list(self._window)
            filled = window + window[-1:] * (self._frames - len(window))
            self._latest = self._score(self._backbone([filled]))
        return self._given()

    def _given(self) -> list[tuple[Item, Values | None]]:
        given = [(item, self._latest) for item in self._waiting]
        self._waiting = []
        return given
