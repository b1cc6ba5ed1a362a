"""What a detector backend offers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.manifest import VideoEntry

Detections = list[np.ndarray]


class Detector:
    """What a detector backend offers; a backend without memory needs ``detect`` only.

    Attributes:
        is_filtered: its boxes are final: no score, area or containment test is applied.
        has_regions: its boxes include moving regions already.
    """

    is_filtered = False
    has_regions = False

    def start(self, entry: VideoEntry | None) -> None:
        """Forget the last video; ``entry`` is the next one, ``None`` when it has no entry."""

    def detect(self, frames: Sequence[np.ndarray]) -> Detections:
        """Find objects in the next frames of the video.

        Args:
            frames: consecutive (H,W,3) uint8 BGR frames, each given once and in order.

        Returns:
            For each frame (n,5) float32: x1, y1, x2, y2 in pixels, score in [0,1].
        """
        raise NotImplementedError
