"""Flow and patches as pictures, for logs and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from torch import Tensor


def flow_to_bgr(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Colour-code flow: hue is direction, brightness is magnitude.

    Args:
        flow: (H,W,2) float, pixels.
        largest: magnitude shown at full brightness; default: the largest in ``flow``.

    Returns:
        (H,W,3) uint8 BGR.
    """
    magnitude, angle = cv2.cartToPolar(
        np.ascontiguousarray(flow[..., 0], dtype=np.float32),
        np.ascontiguousarray(flow[..., 1], dtype=np.float32),
    )
    scale = largest if largest else max(float(magnitude.max()), 1e-6)
    hsv = np.empty((*flow.shape[:2], 3), np.uint8)
    hsv[..., 0] = np.rint(angle * (90.0 / np.pi)).astype(np.int32) % 180
    hsv[..., 1] = 255
    hsv[..., 2] = np.clip(magnitude * (255.0 / scale), 0, 255).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def tile_rows(rows: list[list[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Lay equally sized (H,W,3) uint8 patches out in rows on a white ground."""
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    canvas = np.full(
        (len(rows) * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8
    )
    for row_number, row in enumerate(rows):
        for column, patch in enumerate(row):
            top, left = gap + row_number * (height + gap), gap + column * (width + gap)
            canvas[top : top + height, left : left + width] = patch
    return canvas


def network_frame_to_bgr(frame: np.ndarray) -> np.ndarray:
    """(3,H,W) float in [0,1] BGR -> (H,W,3) uint8 BGR."""
    return np.clip(np.rint(frame.transpose(1, 2, 0) * 255.0), 0, 255).astype(np.uint8)


def network_flow_to_bgr(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """(2,H,W) float pixels -> (H,W,3) uint8 BGR."""
    return flow_to_bgr(flow.transpose(1, 2, 0), largest)


def flow_pictures(flow: Tensor, flow_recon: Tensor) -> dict[str, np.ndarray]:
    """Flow (upper row) over its reconstruction, both (B,2,H,W), on one scale a column."""
    return {"flow": tile_rows(_flow_rows(flow, flow_recon))}


def prediction_pictures(flows: Tensor, output: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Target, prediction and absolute error (times four) of a batch; its last flow and recon."""
    predicted, target = output["frame_pred"], output["frame_target"]
    error = 4 * (predicted - target).abs()
    rows = [
        [network_frame_to_bgr(patch) for patch in images.float().cpu().numpy()]
        for images in (target, predicted, error)
    ]
    return {
        "frame": tile_rows(rows),
        "flow": tile_rows(_flow_rows(flows[:, -2:], output["flow_recon"][:, -2:])),
    }


def _flow_rows(flow: Tensor, flow_recon: Tensor) -> list[list[np.ndarray]]:
    real, reconstructed = flow.float().cpu().numpy(), flow_recon.float().cpu().numpy()
    largest = [max(float(np.linalg.norm(one, axis=0).max()), 1e-6) for one in real]
    return [
        [network_flow_to_bgr(one, scale) for one, scale in zip(row, largest, strict=True)]
        for row in (real, reconstructed)
    ]
