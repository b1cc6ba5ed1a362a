"""Where in the frame boxes count: zones to watch and zones to ignore."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from utils.config.hf2vad import PreProcessConfig
from utils.config.zones import is_in_shares


class Zones:
    """Keeps the boxes that stand where somebody is to be watched.

    A box stands at its foot point, the middle of its lowest row of pixels: that is where a person
    or a car touches the ground, and zones are drawn on the ground. The centre of somebody who
    walks before a hedge lies in the hedge; the foot point does not.

    Args:
        ignore: polygons of corners (x, y); a box that stands in one is dropped.
        watch: polygons; a box that stands in none is dropped. Empty: the whole frame is watched.
            Corners are pixels, or, where all of a polygon are at most 1, shares of the frame.
    """

    def __init__(
        self, ignore: Sequence[Sequence[Sequence[float]]] = (), watch: Sequence = ()
    ) -> None:
        self._ignore, self._watch = list(ignore), list(watch)

    @classmethod
    def of(cls, config: PreProcessConfig) -> Zones:
        """The zones of a configuration."""
        return cls(config.ignore_zones, config.watch_zones)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._ignore or self._watch)

    def keep(self, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
        """The boxes that count, (n,4) -> (m,4) in the same order; edges belong to a zone.

        Args:
            boxes: x1, y1, x2, y2 in pixels; foot points outside the frame are moved to its edge.
            width, height: of the frame.
        """
        if not self or not len(boxes):
            return boxes
        ignore, watch = self.outlines(width, height)
        feet = _foot_points(boxes, width, height)
        kept = [
            not _is_in_any(foot, ignore) and (not watch or _is_in_any(foot, watch)) for foot in feet
        ]
        return boxes[np.array(kept)]

    def outlines(self, width: int, height: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The polygons to ignore and to watch in pixels, each (k,1,2) float32."""
        size = np.array([width, height], np.float32)

        def scaled(zone: Sequence[Sequence[float]]) -> np.ndarray:
            corners = np.array(zone, np.float32).reshape(-1, 1, 2)
            return corners * size if is_in_shares([list(corner) for corner in zone]) else corners

        return [scaled(zone) for zone in self._ignore], [scaled(zone) for zone in self._watch]


def _foot_points(boxes: np.ndarray, width: int, height: int) -> list[tuple[float, float]]:
    x = np.clip((boxes[:, 0] + boxes[:, 2]) / 2, 0, width - 1)
    y = np.clip(boxes[:, 3] - 1, 0, height - 1)
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _is_in_any(point: tuple[float, float], zones: Sequence[np.ndarray]) -> bool:
    return any(cv2.pointPolygonTest(zone, point, False) >= 0 for zone in zones)
