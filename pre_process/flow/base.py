"""What an optical flow backend offers, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datasets.manifest import VideoEntry


class FlowEstimator:
    """What a flow backend offers.

    Attributes:
        is_sequential: it must be asked for every frame but the first, in order.
    """

    is_sequential = False

    def start(self, entry: VideoEntry | None) -> None:
        """Forget the last video; ``entry`` is the next one, ``None`` when it has no entry."""

    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Flow from each previous to each current frame.

        Args:
            previous: (H,W,3) uint8 BGR frames i-1.
            current: the frames i, as many.

        Returns:
            For each pair (H,W,2) float32 (u, v), in pixels of the size the flow is computed at,
            which is not the frame's when the configuration enlarges it (HF2-VAD §4.1).
        """
        raise NotImplementedError


def working_size(frame: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """(width, height) the flow of a frame is computed at; zeros stand for the frame's own."""
    return width or frame.shape[1], height or frame.shape[0]


def resize_to_frame(flow: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Bring a flow field (h,w,2) to the frame's size (H,W,2), bilinear, vectors as they are."""
    height, width = frame.shape[:2]
    if flow.shape[:2] == (height, width):
        return flow
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)


def flow_file(root: Path, entry: VideoEntry) -> Path:
    """Where a video's flow lies: ``data/NAME/flows/SPLIT/VIDEO.npy``."""
    return Path(root) / "flows" / entry.split / f"{entry.name}.npy"
