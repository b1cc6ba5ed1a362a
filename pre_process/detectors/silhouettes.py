"""Silhouettes of several people that closing joined, split by their height."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

_SPECK = 12  # pixels; smaller parts are noise
_REMEMBERED, _FEWEST = 500, 30  # silhouettes that tell the typical height


class TypicalHeight:
    """Median height of the last silhouettes of a video; causal."""

    def __init__(self) -> None:
        self._heights: deque[int] = deque(maxlen=_REMEMBERED)

    def push(self, heights: np.ndarray) -> None:
        """Take the heights (n,) of a frame's silhouettes, pixels."""
        self._heights.extend(heights.tolist())

    def __call__(self) -> float:
        """Pixels; infinite while there are too few."""
        return float(np.median(self._heights)) if len(self._heights) >= _FEWEST else np.inf


def split_silhouette(mask: np.ndarray, tallest: float, gap: float) -> np.ndarray:
    """Boxes of the parts of a silhouette, none of them joined to more than a height.

    Closing gaps joins the head, trunk and legs of one person, but also people who stand one above
    the other in the picture. The connected parts are joined again, those first that waste the least
    area, while the result is not too tall.

    Args:
        mask: (h,w) uint8, the silhouette before its gaps were closed.
        tallest: pixels that joined parts may be high; a single part may be taller.
        gap: pixels in the vertical direction over which parts are joined.

    Returns:
        (n,4) float32 x1, y1, x2, y2 in the mask.
    """
    statistics = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
    x, y, width, height = statistics[statistics[:, 4] >= _SPECK, :4].T.astype(np.float32)
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    while len(boxes) > 1:
        joined, waste = _joined(boxes, tallest, gap)
        first, second = np.unravel_index(waste.argmin(), waste.shape)
        if not np.isfinite(waste[first, second]):
            break
        kept = np.delete(boxes, (first, second), axis=0)
        boxes = np.concatenate([kept, joined[first, second][None]])
    return boxes


def _joined(boxes: np.ndarray, tallest: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Each pair's common box (n,n,4), and the area in it of neither; infinite: not to be joined."""
    start = np.minimum(boxes[:, None, :2], boxes[None, :, :2])
    stop = np.maximum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    waste = (stop - start).prod(axis=2) - areas[:, None] - areas[None, :]
    allowed = (common[..., 0] > 0) & (common[..., 1] >= -gap)
    allowed &= (stop - start)[..., 1] <= tallest
    np.fill_diagonal(allowed, False)
    return np.concatenate([start, stop], axis=2), np.where(allowed, waste, np.inf)
