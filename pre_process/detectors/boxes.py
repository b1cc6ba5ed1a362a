"""Foreground boxes: filtering, containment suppression, moving regions (HF2-VAD §3.1, §4.1)."""

from __future__ import annotations

import cv2
import numpy as np

# How far a box is grown before it is blanked, and a region before it is given back.
_MARGIN = 2


def filter_detections(
    detections: np.ndarray, score_threshold: float, min_area: float
) -> np.ndarray:
    """Keep detections that are sure and large enough.

    Args:
        detections: (n,5) x1, y1, x2, y2, score.
        score_threshold: keep ``score > score_threshold``.
        min_area: keep ``(x2-x1+1)(y2-y1+1) >= min_area``, square pixels.

    Returns:
        (m,4) float32 boxes in the order given.
    """
    boxes = np.asarray(detections, np.float32).reshape(-1, 5)
    keep = (boxes[:, 4] > score_threshold) & (_areas(boxes) >= min_area)
    return boxes[keep, :4]


def suppress_contained(boxes: np.ndarray, cover_threshold: float) -> np.ndarray:
    """Drop every box that a larger one covers.

    A box goes when ``intersection / its own area > cover_threshold`` for any box after it in the
    order of growing area, dropped ones included; areas count both edges (``x2 - x1 + 1``).

    Args:
        boxes: (n,4) x1, y1, x2, y2.
        cover_threshold: share of a box that may be covered.

    Returns:
        (m,4) float32, by growing area.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    areas = _areas(boxes)
    order = np.argsort(areas, kind="stable")
    boxes, areas = boxes[order], areas[order]
    corner = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    sides = np.maximum(corner - np.maximum(boxes[:, None, :2], boxes[None, :, :2]) + 1, 0)
    covered = sides.prod(axis=2) / np.maximum(areas, 1e-12)[:, None]
    larger = np.triu(np.ones((len(boxes), len(boxes)), bool), k=1)
    return boxes[~((covered > cover_threshold) & larger).any(axis=1)]


def blur(frame: np.ndarray, size: int) -> np.ndarray:
    """Gaussian blur of a frame (H,W,3) uint8, ``size`` x ``size`` pixels, sigma from the size."""
    return cv2.GaussianBlur(frame, (size, size), 0)


def moving_regions(
    blurred: tuple[np.ndarray, np.ndarray, np.ndarray],
    boxes: np.ndarray,
    binary_threshold: int,
    min_area: float,
    max_aspect: float,
) -> np.ndarray:
    """Regions that move where no box is.

    Both frame differences are added with saturation (the published code lets the sum of two
    uint8 differences wrap around), thresholded, blanked under the boxes, and cut into the bounding
    rectangles of the outer contours.

    Args:
        blurred: frames i-1, i, i+1 after ``blur``, (H,W,3) uint8 (at the ends: repeated).
        boxes: (n,4) boxes of frame i that are known already.
        binary_threshold: difference, 0..255, above which a pixel moves.
        min_area: keep ``(w+1)(h+1) > min_area``, square pixels.
        max_aspect: keep sides whose ratio is below it both ways.

    Returns:
        (m,4) float32 x1, y1, x2, y2, grown by 2 px and inside the frame.
    """
    previous, current, following = blurred
    difference = cv2.add(cv2.absdiff(previous, current), cv2.absdiff(current, following))
    moving = cv2.threshold(difference, binary_threshold, 255, cv2.THRESH_BINARY)[1]
    for x1, y1, x2, y2 in np.asarray(boxes).astype(np.int64).reshape(-1, 4).tolist():
        rows = slice(max(0, y1 - _MARGIN), max(0, y2 + _MARGIN + 1))
        moving[rows, max(0, x1 - _MARGIN) : max(0, x2 + _MARGIN + 1)] = 0
    grey = cv2.cvtColor(moving, cv2.COLOR_BGR2GRAY)
    contours = cv2.findContours(grey, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    rectangles = np.array([cv2.boundingRect(each) for each in contours], int).reshape(-1, 4)
    return _grow(_pick_rectangles(rectangles, min_area, max_aspect), grey.shape)


def drop_edges(
    regions: np.ndarray, boxes: np.ndarray, reach: float, cover_threshold: float
) -> np.ndarray:
    """Drop the moving regions that a box beside them explains.

    A box lags behind whoever runs, and leaves out a leg, a shadow and the ground just left: strips
    that look like nothing normal and so score high. Each box is grown on all four sides by
    ``reach`` of its width or height; a region goes when more than ``cover_threshold`` of it lies in
    one grown box. Beside a box a region as tall stays when it is wider than
    ``reach / cover_threshold`` of the box: somebody else of about that size.

    Args:
        regions: (n,4) from ``moving_regions``.
        boxes: (m,4) those that it was given.
        reach: share of the box's sides; 0 drops nothing.
        cover_threshold: share of a region that may be explained.

    Returns:
        (k,4) float32 in the order given.
    """
    if reach == 0 or not len(boxes):
        return regions
    grown = reach * (boxes[:, 2:] - boxes[:, :2]) + _MARGIN
    start, stop = boxes[:, :2] - grown, boxes[:, 2:] + grown
    corner = np.minimum(regions[:, None, 2:], stop)
    common = np.maximum(corner - np.maximum(regions[:, None, :2], start), 0).prod(axis=2)
    areas = (regions[:, 2:] - regions[:, :2]).prod(axis=1)
    return regions[(common <= cover_threshold * areas[:, None]).all(axis=1)]


def crop_ranges(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixel ranges to crop, inside the frame and at least 2 px a side.

    Inside the frame this is the published ``[ceil(y1):ceil(y2), ceil(x1):ceil(x2)]``; boxes of zero
    size or outside the frame, on which the published code stops, are moved and widened.

    Args:
        boxes: (n,4) finite x1, y1, x2, y2.
        width: frame width, at least 2.
        height: frame height, at least 2.

    Returns:
        (n,4) int64 x1, y1, x2, y2, ends exclusive.
    """
    limits = np.array([width, height])
    edges = np.ceil(np.asarray(boxes, np.float64).reshape(-1, 2, 2))
    edges = np.clip(edges, -1, limits + 1).astype(np.int64)  # ints that cannot overflow
    start = np.clip(edges[:, 0], 0, limits - 2)
    stop = np.clip(edges[:, 1], start + 2, limits)
    return np.concatenate([start, stop], axis=1)


def clamp_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes inside the frame: cut at its edges; those left with less than 2 px become their crop.

    Args:
        boxes: (n,4) finite x1, y1, x2, y2.
        width: frame width, at least 2.
        height: frame height, at least 2.

    Returns:
        (n,4) float32.
    """
    limits = np.array([width, height, width, height], np.float32)
    inside = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, limits)
    is_small = (inside[:, 2:] - inside[:, :2] < 2).any(axis=1)
    inside[is_small] = crop_ranges(boxes[is_small], width, height)
    return inside


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def _pick_rectangles(rectangles: np.ndarray, min_area: float, max_aspect: float) -> np.ndarray:
    width, height = rectangles[:, 2], rectangles[:, 3]
    large = (width + 1) * (height + 1) > min_area
    return rectangles[large & (width < max_aspect * height) & (height < max_aspect * width)]


def _grow(rectangles: np.ndarray, frame_shape: tuple[int, ...]) -> np.ndarray:
    height, width = frame_shape[:2]
    start = np.maximum(rectangles[:, :2] - _MARGIN, 0)
    stop = np.minimum(rectangles[:, :2] + rectangles[:, 2:] + _MARGIN, [width, height])
    return np.concatenate([start, stop], axis=1).astype(np.float32)
