"""The streaming extractor: frames in, spatio-temporal cubes out (HF2-VAD §3.1).

``extract_samples.py`` writes what it gives to disk and ``infer.py`` scores it at once, so scores of
stored and of live video are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from datasets.cubes.files import CUBE_SIZE, NUM_FLOWS, NUM_FRAMES
from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.boxes import clamp_boxes, crop_ranges
from pre_process.detectors.build import BoxSource, build_box_source
from pre_process.flow.base import FlowEstimator
from pre_process.flow.build import build_flow
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError


@dataclass(frozen=True)
class FrameCubes:
    """The n cubes of one frame.

    Attributes:
        index: frame index since ``start``.
        boxes: (n,4) float32 x1, y1, x2, y2 in pixels, inside the frame.
        appearance: (n,5,32,32,3) uint8 BGR, frames i-4..i.
        motion: (n,4,32,32,2) float16, flows i-3..i.
    """

    index: int
    boxes: np.ndarray
    appearance: np.ndarray
    motion: np.ndarray


@dataclass
class _FrameWithFlow:
    """A frame and the flow that leads to it, once something asked for it."""

    frame: np.ndarray
    flow: np.ndarray | None = None


class CubeExtractor:
    """Takes the frames of a video in order and gives back the cubes of each.

    It holds the last frames and flows only, so a stream may be endless. Cubes come late by one
    frame when moving regions are on (they need the next frame), and by ``batch_size - 1`` more
    when frames are handed to the networks in batches; the cubes themselves do not depend on it.

    Args:
        box_source: where the boxes come from.
        flow: the flow estimator.
        batch_size: frames handed to detector and flow at once; 1 for live use.
    """

    def __init__(self, box_source: BoxSource, flow: FlowEstimator, batch_size: int = 1) -> None:
        self._box_source = box_source
        self._flow = flow
        self._batch_size = batch_size
        self.start()

    def start(self, entry: VideoEntry | None = None) -> None:
        """Begin another video; ``entry`` is needed by backends that read files."""
        self._entry = entry
        self._index = 0
        self._is_new_video = True
        self._forget()

    def skip(self) -> None:
        """Go on behind lost frames, once ``flush`` has given the cubes before them.

        A flow across the gap would look like fast motion, so the next frame is taken as a first
        one. What the detector has learnt of the scene stays, and indices go on.
        """
        self._box_source.skip()
        self._forget()

    def _forget(self) -> None:
        self._waiting: list[np.ndarray] = []
        self._window: list[_FrameWithFlow] = []
        self._has_history = False

    def push(self, frame: np.ndarray) -> list[FrameCubes]:
        """Take the next frame; give the cubes of those frames that are ready.

        Args:
            frame: (H,W,3) uint8 BGR; not to be changed afterwards.

        Raises:
            UserError: the frame has another size than the first.
        """
        if not self._window:
            self._begin(frame)
        elif frame.shape != self._window[0].frame.shape:
            raise UserError(
                f"frame {self._index + len(self._waiting)}: size {frame.shape[1]}x{frame.shape[0]} "
                "differs from the frames before; one video must have one frame size"
            )
        self._waiting.append(frame)
        if len(self._waiting) < self._batch_size + self._box_source.needs_following:
            return []
        return self._process(self._batch_size)

    def flush(self) -> list[FrameCubes]:
        """End the video: give the cubes of the frames that still wait."""
        return self._process(len(self._waiting)) if self._waiting else []

    def _begin(self, frame: np.ndarray) -> None:
        """Before the first frame there were repeats of it, and nothing moved."""
        if frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < 2:
            raise UserError(f"frames of shape {frame.shape}; (H,W,3) of 2 px or more are needed")
        if self._is_new_video:
            self._box_source.start(self._entry)
            self._flow.start(self._entry)
            self._is_new_video = False
        zero = np.zeros((*frame.shape[:2], 2), np.float32)
        self._window = [_FrameWithFlow(frame, zero) for _ in range(NUM_FRAMES - 1)]

    def _process(self, count: int) -> list[FrameCubes]:
        frames, self._waiting = self._waiting[:count], self._waiting[count:]
        boxes = self._box_source(frames, self._waiting[0] if self._waiting else None)
        first = len(self._window)
        self._window += [_FrameWithFlow(frame) for frame in frames]
        if not self._has_history:
            self._window[first].flow = self._window[0].flow
            self._has_history = True
        self._fill_flows(first, boxes)
        cubes = [self._cut(first + place, each) for place, each in enumerate(boxes)]
        del self._window[: 1 - NUM_FRAMES]
        return cubes

    def _fill_flows(self, first: int, boxes: list[np.ndarray]) -> None:
        """Compute the flows that cubes ask for; none where nothing was detected."""
        needed: set[int] = set()
        for place, each in enumerate(boxes, first):
            if len(each) or self._flow.is_sequential:
                needed.update(range(place - NUM_FLOWS + 1, place + 1))
        missing = sorted(place for place in needed if self._window[place].flow is None)
        if not missing:
            return
        before = [self._window[place - 1].frame for place in missing]
        after = [self._window[place].frame for place in missing]
        for place, flow in zip(missing, self._flow(before, after), strict=True):
            self._window[place].flow = flow

    def _cut(self, place: int, boxes: np.ndarray) -> FrameCubes:
        frames_with_flow = self._window[place - NUM_FRAMES + 1 : place + 1]
        height, width = frames_with_flow[0].frame.shape[:2]
        ranges = crop_ranges(boxes, width, height).tolist()
        appearance = np.empty((len(ranges), NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 3), np.uint8)
        motion = np.empty((len(ranges), NUM_FLOWS, CUBE_SIZE, CUBE_SIZE, 2), np.float16)
        flows = np.empty(motion.shape[1:], np.float32)
        for row, (x1, y1, x2, y2) in enumerate(ranges):
            for time, each in enumerate(frames_with_flow):
                _resize_into(appearance[row, time], each.frame[y1:y2, x1:x2])
            for time, each in enumerate(frames_with_flow[-NUM_FLOWS:]):
                assert each.flow is not None  # filled where a cube asks for it
                _resize_into(flows[time], each.flow[y1:y2, x1:x2])
            _round_into(motion[row], flows)
        self._index += 1
        boxes = clamp_boxes(boxes, width, height)
        return FrameCubes(self._index - 1, boxes, appearance, motion)


def build_extractor(
    config: PreProcessConfig, dataset: DataSet | None = None, batch_size: int = 1
) -> CubeExtractor:
    """The extractor of a configuration; ``dataset`` is needed by the ``file`` backends only."""
    return CubeExtractor(build_box_source(config, dataset), build_flow(config, dataset), batch_size)


def _resize_into(target: np.ndarray, crop: np.ndarray) -> None:
    cv2.resize(crop, (CUBE_SIZE, CUBE_SIZE), dst=target, interpolation=cv2.INTER_LINEAR)


def _round_into(target: np.ndarray, values: np.ndarray) -> None:
    """float32 to float16; torch does it 40 times as fast as NumPy, bit for bit the same.

    One cube at a time: a larger tensor would wake torch's threads, which costs more than it saves.
    """
    torch.from_numpy(target).copy_(torch.from_numpy(values))
