"""YOLOX (arXiv 2107.08430) as official ONNX export, run by onnxruntime on the CPU or a GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

from pre_process.detectors.base import Detector
from utils.errors import UserError
from utils.file_kind import describe_file

logger = logging.getLogger(__name__)

_STRIDES = (8, 16, 32)
_PADDING = 114
_NMS_THRESHOLD = 0.45
_TILE_OVERLAP = 0.25
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class YOLOXDetector(Detector):
    """A YOLOX network over whole frames, or also over overlapping, enlarged tiles of them.

    Args:
        weights: official ``.onnx`` file: input (1,3,H,W) BGR 0..255, output (1, cells, 85).
        score_threshold: what scores less is dropped before boxes are suppressed.
        tiles: tiles along the longer side, overlapping by a quarter; 1: the whole frame only.
            People of 25 px, as in Ped2, are too small for the network without them.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where onnxruntime has one.
            A GPU that onnxruntime cannot use gives the CPU, with a warning where one was named.

    Raises:
        UserError: no such file, or not an export of this form.
    """

    def __init__(
        self, weights: str, score_threshold: float, tiles: int = 1, device: str = "cpu"
    ) -> None:
        self._session = _open_session(weights, device)
        spec = self._session.get_inputs()[0]
        self._input_name = spec.name
        self._size = tuple(spec.shape[2:])
        if len(self._size) != 2 or not all(isinstance(side, int) for side in self._size):
            raise UserError(f"{weights}: input {spec.shape}; a fixed (1,3,H,W) export is needed")
        self._cells = _grid(self._size)
        cells = self._session.get_outputs()[0].shape[1:]
        if isinstance(cells[0], int) and cells[0] != len(self._cells):
            raise UserError(f"{weights}: output {cells}; {len(self._cells)} YOLOX cells are needed")
        self._score_threshold = score_threshold
        self._tiles = tiles

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See ``Detector.detect``."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> np.ndarray:
        detections_of = [self._detect_window(frame)]
        for x, y, window in tile_windows(frame, self._tiles):
            detections = self._detect_window(window)
            inner = ~_cut_by_tile(detections, window.shape, (x, y), frame.shape)
            detections_of.append(detections[inner] + np.array([x, y, x, y, 0], np.float32))
        return suppress_overlapping(np.concatenate(detections_of), _NMS_THRESHOLD)

    def _detect_window(self, window: np.ndarray) -> np.ndarray:
        height, width = self._size
        scale = min(height / window.shape[0], width / window.shape[1])
        size = round(window.shape[1] * scale), round(window.shape[0] * scale)
        canvas = np.full((height, width, 3), _PADDING, np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(window, size, interpolation=cv2.INTER_LINEAR)
        blob = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        output = self._session.run(None, {self._input_name: blob})[0][0]
        detections = decode(output, self._cells, self._score_threshold)
        detections[:, :4] /= scale
        limits = [window.shape[1], window.shape[0], window.shape[1], window.shape[0]]
        detections[:, :4] = np.clip(detections[:, :4], 0, limits)
        return detections


def decode(output: np.ndarray, cells: np.ndarray, score_threshold: float) -> np.ndarray:
    """Turn the raw output of YOLOX into boxes (arXiv 2107.08430 §2.1).

    Args:
        output: (cells, 85): centre offset and log size in strides, objectness, 80 class scores.
        cells: (cells, 3): x and y of each cell in the grid, stride in pixels.
        score_threshold: keep ``objectness * class score >= score_threshold``.

    Returns:
        (n,5) float32 x1, y1, x2, y2 in input pixels, score of the best class.
    """
    scores = output[:, 4] * output[:, 5:].max(axis=1)
    keep = scores >= score_threshold
    output, cells = output[keep], cells[keep]
    centre = (output[:, :2] + cells[:, :2]) * cells[:, 2:]
    half = np.exp(output[:, 2:4]) * cells[:, 2:] / 2
    boxes = [centre - half, centre + half, scores[keep, None]]
    return np.concatenate(boxes, axis=1).astype(np.float32)


def suppress_overlapping(detections: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression over all classes together; best first.

    Args:
        detections: (n,5) x1, y1, x2, y2, score.
        threshold: intersection over union above which the lower score goes.
    """
    boxes = torch.from_numpy(np.ascontiguousarray(detections, np.float32))
    keep = torchvision.ops.nms(boxes[:, :4], boxes[:, 4], threshold)
    return detections[keep.numpy()]


def tile_windows(frame: np.ndarray, tiles: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a frame into square-ish overlapping windows.

    Args:
        frame: (H,W,3).
        tiles: windows along the longer side; 1: none at all.

    Yields:
        x and y of the window's corner and the window; together they cover the frame.
    """
    if tiles == 1:
        return
    height, width = frame.shape[:2]
    side = int(np.ceil(max(height, width) / (1 + (tiles - 1) * (1 - _TILE_OVERLAP))))
    for y in _starts(height, side):
        for x in _starts(width, side):
            yield x, y, frame[y : y + side, x : x + side]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - _TILE_OVERLAP)) - 1e-6)) + 1
    return np.rint(np.linspace(0, length - side, count)).astype(int).tolist()


def _cut_by_tile(
    detections: np.ndarray,
    window_shape: tuple[int, ...],
    corner: tuple[int, int],
    frame_shape: tuple[int, ...],
) -> np.ndarray:
    """Boxes at a tile's inner edge: halves of somebody whom a neighbouring tile sees whole."""
    (height, width), (x, y) = window_shape[:2], corner
    cut = (detections[:, 0] <= 1) & (x > 0)
    cut |= (detections[:, 1] <= 1) & (y > 0)
    cut |= (detections[:, 2] >= width - 1) & (x + width < frame_shape[1])
    return cut | ((detections[:, 3] >= height - 1) & (y + height < frame_shape[0]))


def _grid(size: tuple[int, int]) -> np.ndarray:
    """(cells, 3): x, y and stride of the cells, strides 8, 16, 32 one after another."""
    levels = []
    for stride in _STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        levels.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(levels).astype(np.float32)


def _open_session(weights: str, device: str) -> Any:
    if not weights or not Path(weights).is_file():
        raise UserError(
            f"pre_process.boxes.weights: {weights or '(empty)'}: no such file; backend yolox needs "
            "an official YOLOX ONNX export, such as yolox_nano.onnx"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # 1 in a worker process
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # halves CPU time
    providers = session_providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=providers)
    except Exception as error:  # onnxruntime has no common base for what a bad file may raise
        kind = describe_file(Path(weights))
        reason = f"it is {kind}" if kind else error
        raise UserError(f"{weights}: not a network onnxruntime can open: {reason}") from None
    if device.startswith("cuda") and _CUDA not in session.get_providers():
        logger.warning(
            "pre_process.device=%s: onnxruntime has no such GPU, yolox runs on the CPU; install "
            "onnxruntime-gpu in the place of onnxruntime, or set pre_process.device=cpu",
            device,
        )
    return session


def session_providers(device: str, available: Sequence[str]) -> list[Any]:
    """Where onnxruntime is to run, best first.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        available: names of the providers that this onnxruntime has.
    """
    if device == "cpu" or _CUDA not in available:
        return [_CPU]
    index = int(device.partition(":")[2] or 0)
    return [(_CUDA, {"device_id": index}), _CPU]
