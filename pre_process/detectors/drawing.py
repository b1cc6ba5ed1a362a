"""Boxes drawn on frames, for looking at what a detector finds."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pre_process.detectors.zones import Zones
from visualization.zone_overlay import ZoneOverlay

_SCALE = 2
_COLOUR = (0, 0, 255)


def draw_boxes(frame: np.ndarray, boxes: np.ndarray, scale: int = _SCALE) -> np.ndarray:
    """A copy of a BGR frame, enlarged ``scale`` times, with its (n,4) boxes outlined."""
    picture = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    for x1, y1, x2, y2 in np.rint(np.asarray(boxes) * scale).astype(int).tolist():
        cv2.rectangle(picture, (x1, y1), (x2, y2), _COLOUR, 1)
    return picture


def draw_zones(frame: np.ndarray, zones: Zones) -> np.ndarray:
    """A copy of a frame (H,W,3) uint8 BGR: zones to ignore darkened, those to watch outlined."""
    picture = frame.copy()
    ZoneOverlay(zones.outlines).draw(picture, frame.shape[1], frame.shape[0])
    return picture


def evenly_spaced(count: int, num_frames: int) -> Sequence[int]:
    """``count`` frame indices spread evenly over a video, its ends left out."""
    return sorted({int(part) for part in np.linspace(0, num_frames, count + 2)[1:-1]})
