"""Small pictures for reports: what the model saw and expected of a cube, and where it was."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from visualization.flow_color import network_flow_to_bgr, network_frame_to_bgr

FULL_ERROR = 0.5  # mean absolute difference shown brightest; patches are in [0, 1]
_BOX_COLOUR = (40, 60, 230)  # BGR


def cube_strip(seen: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], bytes]:
    """Lay the patches of one cube side by side.

    Args:
        seen: ``frame_target`` (3,H,W) in [0,1] and ``flow`` (2,H,W) in pixels; where there
            are such, ``flow_recon`` (2,H,W), ``frame_pred`` (3,H,W) and ``nearest`` (k,H,W,3)
            uint8 BGR.

    Returns:
        The captions of the patches and one PNG of them; the nearest normal ones, k patches wide,
        have one caption.
    """
    patches = {"true patch": network_frame_to_bgr(seen["frame_target"])}
    if "frame_pred" in seen:
        patches["predicted"] = network_frame_to_bgr(seen["frame_pred"])
        patches["error"] = error_map(seen["frame_target"], seen["frame_pred"])
    largest = max(float(np.linalg.norm(seen["flow"], axis=0).max()), 1e-6)
    patches["flow"] = network_flow_to_bgr(seen["flow"], largest)
    if "flow_recon" in seen:
        patches["reconstructed flow"] = network_flow_to_bgr(seen["flow_recon"], largest)
    if "nearest" in seen:
        patches["nearest normal"] = np.hstack(list(seen["nearest"]))
    return tuple(patches), _encode(np.hstack(list(patches.values())), ".png")


def error_map(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(3,H,W) patches in [0,1] -> (H,W,3) uint8 BGR heat map of their mean absolute difference.

    The scale is fixed, so that maps can be compared.
    """
    difference = np.abs(target - predicted).mean(axis=0) / FULL_ERROR
    levels = np.clip(np.rint(255 * difference), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)


def frame_with_box(frame: np.ndarray, box: np.ndarray | None, width: int = 288) -> bytes:
    """JPEG of a frame, made ``width`` wide, with a box drawn on it.

    Args:
        frame: (H,W,3) uint8 BGR.
        box: x1,y1,x2,y2 in pixels of the frame, or ``None``.
    """
    scale = width / frame.shape[1]
    height = max(1, round(frame.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(frame, (width, height), interpolation=way)
    if box is not None:
        left, top, right, bottom = (int(value) for value in np.rint(np.asarray(box) * scale))
        cv2.rectangle(small, (left - 2, top - 2), (right + 2, bottom + 2), _BOX_COLOUR, 2)
    return _encode(small, ".jpg")


def _encode(picture: np.ndarray, suffix: str) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, 80] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, picture, settings)
    return data.tobytes()
