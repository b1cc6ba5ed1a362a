"""Small pictures for reports: what the model saw and expected of a cube, where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from visualization.flow_color import network_flow_to_bgr, network_frame_to_bgr
from visualization.reasons import velocity_in_words

FULL_ERROR = 0.5  # mean absolute difference shown brightest; patches are in [0, 1]
_BOX_COLOUR = (40, 60, 230)  # BGR


class Strip(NamedTuple):
    """Patches side by side.

    Attributes:
        captions: what they are, and how many patches each caption is for.
        png: the patches as one picture.
    """

    captions: tuple[tuple[str, int], ...]
    png: bytes


class CubePictures(NamedTuple):
    """What is shown of a cube.

    Attributes:
        strips: what the model saw and expected; what is normal and most like it, if that is known.
        remark: how the cube moves and how the nearest normal one moved, or nothing.
    """

    strips: tuple[Strip, ...]
    remark: str


def cube_pictures(shown: Mapping[str, np.ndarray]) -> CubePictures:
    """Lay out what is known of one cube.

    Args:
        shown: ``frame_target`` (3,H,W) in [0,1] and ``flow`` (2,H,W) in pixels; where there are
            such, ``flow_recon`` (2,H,W), ``frame_pred`` (3,H,W), ``nearest`` (k,H,W,3) uint8 BGR,
            and ``velocity`` (8,), ``nearest_velocity`` (8,) with ``nearest_moving`` (H,W,3) uint8.
    """
    patches = {"true patch": network_frame_to_bgr(shown["frame_target"])}
    if "frame_pred" in shown:
        patches["predicted"] = network_frame_to_bgr(shown["frame_pred"])
        patches["error"] = error_map(shown["frame_target"], shown["frame_pred"])
    largest = max(float(np.linalg.norm(shown["flow"], axis=0).max()), 1e-6)
    patches["flow"] = network_flow_to_bgr(shown["flow"], largest)
    if "flow_recon" in shown:
        patches["reconstructed flow"] = network_flow_to_bgr(shown["flow_recon"], largest)
    strips, normal = [_strip(patches)], _nearest(shown)
    if normal:
        strips.append(_strip(normal))
    remark = ""
    if "velocity" in shown:
        remark = (
            f"moves: {velocity_in_words(shown['velocity'])}; nearest normal velocity: "
            f"{velocity_in_words(shown['nearest_velocity'])}"
        )
    return CubePictures(tuple(strips), remark)


def _nearest(shown: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    patches = {}
    if "nearest" in shown:
        patches["nearest normal pictures"] = np.hstack(list(shown["nearest"]))
    if "nearest_moving" in shown:
        patches["nearest velocity"] = np.asarray(shown["nearest_moving"])
    return patches


def _strip(patches: Mapping[str, np.ndarray]) -> Strip:
    """Patches, some of them several side by side, under their names."""
    captions = tuple((name, each.shape[1] // each.shape[0]) for name, each in patches.items())
    return Strip(captions, _encode(np.hstack(list(patches.values())), ".png"))


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
