"""Zones of the frame drawn on pictures: those to ignore darkened, those to watch outlined."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

# Maps width and height of a frame to the polygons to ignore and to watch, (k,1,2) float32 pixels.
Outlines = Callable[[int, int], tuple[list[np.ndarray], list[np.ndarray]]]

_WATCHED = (90, 190, 60)  # BGR
# Three tenths of the picture on dark grey (60), for every grey level.
_DARKENED = np.rint(0.3 * np.arange(256) + 0.7 * 60).astype(np.uint8)


class ZoneOverlay:
    """Draws zones on pictures; what depends on their size alone is computed once.

    Args:
        outlines: where the zones are, such as ``pre_process.detectors.zones.Zones.outlines``.
    """

    def __init__(self, outlines: Outlines) -> None:
        self._outlines = outlines
        self._size: tuple[int, int, int, int] | None = None
        self._watched: list[np.ndarray] = []
        self._ignored: np.ndarray | None = None  # (H,W) uint8, 255 inside
        self._window = np.s_[0:0, 0:0]  # around all that is ignored

    def draw(self, picture: np.ndarray, width: int, height: int) -> None:
        """Draw in place on a picture (H,W,3) uint8 BGR of a frame of ``width`` x ``height``."""
        size = picture.shape[1], picture.shape[0], width, height
        if self._size != size:
            self._size = size
            self._prepare(*size)
        if self._ignored is not None:
            part = picture[self._window]
            cv2.copyTo(cv2.LUT(part, _DARKENED), self._ignored[self._window], part)
        if self._watched:
            cv2.polylines(picture, self._watched, True, _WATCHED, 1, cv2.LINE_AA)

    def _prepare(self, across: int, down: int, width: int, height: int) -> None:
        scale = np.array([across / width, down / height])
        ignored, self._watched = (
            [np.rint(zone * scale).astype(np.int32) for zone in each]
            for each in self._outlines(width, height)
        )
        self._ignored = None
        if ignored:
            self._ignored = np.zeros((down, across), np.uint8)
            for zone in ignored:
                cv2.fillPoly(self._ignored, [zone], 255)
            x, y, wide, high = cv2.boundingRect(self._ignored)
            self._window = np.s_[y : y + high, x : x + wide]
