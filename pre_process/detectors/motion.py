"""Moving things without a network: background subtraction AND temporal gradient (the default)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from datasets.manifest import VideoEntry
from pre_process.detectors.base import Detector
from pre_process.detectors.silhouettes import TypicalHeight, split_silhouette

# Larger frames are made smaller first: a box does not need more pixels than this.
_LONGEST_SIDE = 640
_SMALLEST = 100  # square pixels of a box that tells the typical height


class MotionDetector(Detector):
    """Boxes of what differs from the background and has just changed.

    Background subtraction (MOG2, learnt on the fly, causal) gives whole silhouettes, but also
    ghosts where somebody left; the temporal gradient has no ghosts, but edges only. A pixel counts
    when it is foreground and changed within reach. Gaps inside a silhouette are closed in
    the vertical direction only, so that people walking side by side stay apart. The score is 1:
    what is small or contained is sorted out by the configuration's thresholds.

    Moving regions (``pre_process.boxes.moving_regions``) are not added to these boxes: what moves
    is detected here already, and the regions left over are the edges of it.

    The defaults were chosen on Ped2's training videos against the boxes of a Mask R-CNN.

    Args:
        history: frames over which the background is learnt.
        background_threshold: squared distance, in variances, from which a pixel is foreground.
        gradient_threshold: grey levels between two frames from which a pixel has changed.
        reach: side in pixels of the square around a changed pixel.
        gap: share of the frame height that is closed inside a silhouette.
        tallest: typical heights beyond which a silhouette is taken for several people, one above
            the other, and split; 0: never.
    """

    has_regions = True

    def __init__(
        self,
        history: int = 100,
        background_threshold: float = 36.0,
        gradient_threshold: float = 8.0,
        reach: int = 5,
        gap: float = 1 / 27,
        tallest: float = 0.0,
    ) -> None:
        self._history = history
        self._background_threshold = background_threshold
        self._gradient_threshold = gradient_threshold
        self._reach = np.ones((reach, reach), np.uint8)
        self._gap = gap
        self._tallest = tallest
        self.start(None)

    def start(self, entry: VideoEntry | None) -> None:
        """Forget the background."""
        self._background = cv2.createBackgroundSubtractorMOG2(
            self._history, self._background_threshold, detectShadows=False
        )
        self._previous: np.ndarray | None = None
        self._typical = TypicalHeight()

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See ``Detector.detect``."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> np.ndarray:
        scale = min(1.0, _LONGEST_SIDE / max(frame.shape[:2]))
        if scale < 1:
            frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        moving = self._moving_pixels(cv2.GaussianBlur(frame, (3, 3), 0))
        boxes = self._boxes(moving, self._close_gaps(moving)) / scale
        return np.insert(boxes, 4, 1, axis=1)

    def _boxes(self, moving: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Boxes (n,4) float32 of what moves, by its silhouettes with gaps closed."""
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
        x, y, width, height = statistics[1:, :4].T.astype(np.float32)
        boxes = np.stack([x, y, x + width, y + height], axis=1)
        if not self._tallest:
            return boxes
        limit = self._tallest * self._typical()
        self._typical.push(height[width * height >= _SMALLEST])
        too_tall = height > limit
        parts = [boxes[~too_tall]]
        for number in np.flatnonzero(too_tall):
            x1, y1, x2, y2 = boxes[number].astype(int).tolist()
            window = np.s_[y1:y2, x1:x2]
            own = np.where(labels[window] == number + 1, moving[window], 0)
            apart = split_silhouette(own, limit, self._gap * len(moving))
            parts.append(apart + np.array([x1, y1, x1, y1], np.float32))
        return np.concatenate(parts)

    def _moving_pixels(self, blurred: np.ndarray) -> np.ndarray:
        foreground = self._background.apply(blurred)
        grey = cv2.cvtColor(blurred, cv2.COLOR_BGR2GRAY)
        previous = grey if self._previous is None else self._previous
        self._previous = grey
        changed = cv2.threshold(
            cv2.absdiff(grey, previous), self._gradient_threshold, 255, cv2.THRESH_BINARY
        )[1]
        return cv2.bitwise_and(foreground, cv2.dilate(changed, self._reach))

    def _close_gaps(self, mask: np.ndarray) -> np.ndarray:
        height = max(1, round(self._gap * mask.shape[0]))
        return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((height, 1), np.uint8))
