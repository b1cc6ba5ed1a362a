"""Dense inverse search flow of OpenCV (arXiv 1603.03590): fast, no weights, the default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pre_process.flow.base import FlowEstimator, resize_to_frame, working_size

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class DISFlow(FlowEstimator):
    """DIS on grey frames, enlarged or at their own size.

    Args:
        width, height: size to compute at; 0: the frame's own.
        preset: ``ultrafast``, ``fast`` or ``medium``.
        patch_size, patch_stride: pixels; 0: the preset's.
        refinement_iterations: of the variational refinement; -1: the preset's.
        finest_scale: last pyramid level computed (0: full resolution); -1: the preset's.
    """

    def __init__(
        self,
        width: int = 0,
        height: int = 0,
        preset: str = "medium",
        patch_size: int = 0,
        patch_stride: int = 0,
        refinement_iterations: int = -1,
        finest_scale: int = -1,
    ) -> None:
        self.width, self.height = width, height
        self._search: Any = cv2.DISOpticalFlow.create(PRESETS[preset])
        if patch_size:
            self._search.setPatchSize(patch_size)
        if patch_stride:
            self._search.setPatchStride(patch_stride)
        if refinement_iterations >= 0:
            self._search.setVariationalRefinementIterations(refinement_iterations)
        if finest_scale >= 0:
            self._search.setFinestScale(finest_scale)
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """See ``FlowEstimator``."""
        return [self._flow(*pair) for pair in zip(previous, current, strict=True)]

    def _flow(self, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
        before, after = self._prepare(previous), self._prepare(current)
        self._last = current, after
        return resize_to_frame(self._search.calc(before, after, None), current)

    def _prepare(self, frame: np.ndarray) -> np.ndarray:
        """Grey frame at the working size; a frame is prepared once, though it is in two pairs."""
        if self._last and self._last[0] is frame:
            return self._last[1]
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        size = working_size(frame, self.width, self.height)
        return cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)
