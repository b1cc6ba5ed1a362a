"""A hand-made extractor that needs no weights: histograms of optical flow and of gradients.

A crop is cut into 4x4 cells; a cell gives 16 values, which are one token of FRD-UVAD: 8 of mean
flow in each direction (pixels a frame at the working size, after Chaudhry et al., CVPR 2009), 3
shares of pixels above a speed, the highest speed, 4 of mean gradient in each orientation (after
Dalal and Triggs, CVPR 2005). Square roots are taken, so that one fast object does not drown the
rest, and scaled to values near 1, from where FRD-UVAD's reconstruction starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pre_process.features.crops import Crop, crop_windows
from utils.errors import UserError

GRID = 4
SPEEDS = (0.5, 1.0, 2.0)  # pixels a frame at the working size
HIGHEST = 11  # channel of the highest speed
WIDTH = 320  # working size; heights keep the aspect
SCALE = 5.0
CROP_SHARE = 7 / 8  # of the frame's sides, as 224 of 256 pixels
# Which channel a mirror image has each of the 16 values in: directions are 45 degrees apart from
# "right" on, orientations from "vertical edge" on.
MIRRORED = [4, 3, 2, 1, 0, 7, 6, 5, 8, 9, 10, 11, 12, 15, 14, 13]


class HOFBackbone:
    """Histograms of DIS flow and of gradients, averaged over the frames of a snippet (D = 256)."""

    feature_size = GRID * GRID * 16

    def __init__(self, frames: int, crops: int) -> None:
        if frames < 2:
            raise UserError("data.frames_per_snippet: backend hof needs 2 or more: it sees motion")
        self.crops = crops
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Grey frame at the working size, (h, 320) uint8."""
        height = max(GRID * 4, round(frame.shape[0] * WIDTH / frame.shape[1]))
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return cv2.resize(grey, (WIDTH, height), interpolation=cv2.INTER_AREA)

    def __call__(self, snippets: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """See ``pre_process.backbones.Backbone``."""
        return np.stack([self._snippet(frames) for frames in snippets])

    def _snippet(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        maps = np.zeros((*frames[0].shape, 16), np.float32)
        for previous, current in itertools.pairwise(frames):
            add_flow(maps, self._flow.calc(previous, current, None))
            add_gradients(maps, current)
        maps[..., :HIGHEST] /= len(frames) - 1
        maps[..., HIGHEST + 1 :] /= len(frames) - 1
        height, width = maps.shape[:2]
        size = round(height * CROP_SHARE), round(width * CROP_SHARE)
        windows = crop_windows(height, width, *size, self.crops)
        return np.stack([cell_means(maps, window) for window in windows])


def add_flow(maps: np.ndarray, flow: np.ndarray) -> None:
    """Add a flow field (h, w, 2) to channels 0-10 of ``maps`` (h, w, 16), take it into 11."""
    speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    direction = np.rint(angle * (8 / (2 * np.pi))).astype(np.int64) % 8
    rows, columns = np.ogrid[: speed.shape[0], : speed.shape[1]]
    maps[rows, columns, direction] += speed
    for channel, limit in enumerate(SPEEDS, start=8):
        maps[..., channel] += speed > limit
    smooth = cv2.blur(speed, (5, 5))  # single wrong vectors are no speed
    np.maximum(maps[..., HIGHEST], smooth, out=maps[..., HIGHEST])


def add_gradients(maps: np.ndarray, grey: np.ndarray) -> None:
    """Add the gradients of (h, w) uint8, in grey levels / 128, to channels 12-15 of ``maps``."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 512)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 512)
    strength, angle = cv2.cartToPolar(across, down)
    orientation = np.rint(angle * (4 / np.pi)).astype(np.int64) % 4
    rows, columns = np.ogrid[: strength.shape[0], : strength.shape[1]]
    maps[rows, columns, 12 + orientation] += strength


def cell_means(maps: np.ndarray, crop: Crop) -> np.ndarray:
    """Scaled root of each cell's means and highest speed: (256,) float32, cells row by row."""
    window = maps[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    rows = np.linspace(0, crop.height, GRID + 1).astype(int)
    columns = np.linspace(0, crop.width, GRID + 1).astype(int)
    cells = np.add.reduceat(np.add.reduceat(window, rows[:-1], axis=0), columns[:-1], axis=1)
    cells /= (np.diff(rows)[:, None] * np.diff(columns))[..., None]  # (4, 4, 16)
    highest = np.maximum.reduceat(window[..., HIGHEST], rows[:-1], axis=0)
    cells[..., HIGHEST] = np.maximum.reduceat(highest, columns[:-1], axis=1)
    if crop.mirrored:
        cells = cells[:, ::-1, MIRRORED]
    return SCALE * np.sqrt(cells.ravel())
