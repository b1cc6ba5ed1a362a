"""Detectors by name, and the foreground boxes made from their detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.base import Detector
from pre_process.detectors.boxes import (
    blur,
    drop_edges,
    filter_detections,
    moving_regions,
    suppress_contained,
)
from pre_process.detectors.zones import Zones
from utils.config.hf2vad import BoxConfig, MovingRegionConfig, PreProcessConfig


class BoxSource:
    """Foreground boxes of a stream of frames: kept detections, then moving regions; then zones.

    Zones come last: a detection that is not watched still keeps regions from being sought in it.

    Args:
        detector: any object with the methods of ``Detector``.
        config: thresholds; moving regions only when enabled there.
        zones: where boxes of either kind count.
    """

    def __init__(self, detector: Detector, config: BoxConfig, zones: Zones | None = None) -> None:
        self.detector = detector
        self._config = config
        self._zones = zones or Zones()
        self._regions: MovingRegionConfig | None = None
        if config.moving_regions.enabled and not getattr(detector, "has_regions", False):
            self._regions = config.moving_regions
        self._blurred: list[np.ndarray] = []

    @property
    def needs_following(self) -> bool:
        """Whether the boxes of a frame depend on the frame after it."""
        return self._regions is not None

    def start(self, entry: VideoEntry | None = None) -> None:
        """Begin another video."""
        self._blurred = []
        start = getattr(self.detector, "start", None)
        if start:
            start(entry)

    def skip(self) -> None:
        """Go on behind lost frames: no region is sought across the gap."""
        self._blurred = []

    def __call__(
        self, frames: Sequence[np.ndarray], following: np.ndarray | None
    ) -> list[np.ndarray]:
        """Boxes of the next frames.

        Args:
            frames: consecutive (H,W,3) uint8 BGR frames, each given once and in order.
            following: the frame after the last of them; ``None`` at the end of the video.

        Returns:
            For each frame (n,4) float32 x1, y1, x2, y2 in pixels.
        """
        found = [self._post_process(each) for each in self.detector.detect(frames)]
        if self._regions is not None:
            found = self._add_regions(found, frames, following)
        if not self._zones:
            return found
        sizes = [frame.shape[1::-1] for frame in frames]
        return [self._zones.keep(each, *size) for each, size in zip(found, sizes, strict=True)]

    def _post_process(self, detections: np.ndarray) -> np.ndarray:
        if getattr(self.detector, "is_filtered", False):
            return np.asarray(detections[:, :4], np.float32)
        finite = detections[np.isfinite(detections).all(axis=1)]
        boxes = filter_detections(finite, self._config.score_threshold, self._config.min_area)
        return suppress_contained(boxes, self._config.cover_threshold)

    def _add_regions(
        self, kept: list[np.ndarray], frames: Sequence[np.ndarray], following: np.ndarray | None
    ) -> list[np.ndarray]:
        """Each frame is blurred once; the last two blurred ones wait for the next call."""
        settings = self._regions
        assert settings is not None
        known = self._blurred  # frames i-1 and i of an earlier call, or nothing
        ahead = [*frames, *([] if following is None else [following])]
        fresh = [blur(frame, settings.blur_size) for frame in ahead[max(0, len(known) - 1) :]]
        chain = [*known, *fresh] if known else [fresh[0], *fresh]
        if following is None:
            chain.append(chain[-1])
        self._blurred = chain[-2:]
        found = []
        for place, boxes in enumerate(kept):
            regions = moving_regions(
                (chain[place], chain[place + 1], chain[place + 2]),
                boxes,
                settings.binary_threshold,
                settings.min_area,
                settings.max_aspect,
            )
            cover = self._config.cover_threshold
            found.append(
                np.concatenate([boxes, drop_edges(regions, boxes, settings.box_reach, cover)])
            )
        return found


def build_box_source(config: PreProcessConfig, dataset: DataSet | None = None) -> BoxSource:
    """The box source of a configuration; ``dataset`` is needed by backend ``file`` only."""
    detector = build_detector(config.boxes, config.device, dataset)
    return BoxSource(detector, config.boxes, Zones.of(config))


def build_detector(config: BoxConfig, device: str, dataset: DataSet | None = None) -> Any:
    """Build the detector that ``pre_process.boxes`` names.

    Backends are imported here, so that only the chosen one's libraries are loaded.

    Args:
        config: the block ``pre_process.boxes``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; for network backends.
        dataset: whose boxes backend ``file`` reads.

    Raises:
        UserError: what the backend needs is missing.
    """
    return _BUILDERS[config.backend](config, device, dataset)


def _build_motion(config: BoxConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.detectors.motion import MotionDetector

    return MotionDetector(tallest=config.tallest)


def _build_yolox(config: BoxConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.detectors.yolox import YOLOXDetector

    return YOLOXDetector(config.weights, config.score_threshold, config.tiles, device)


def _build_torchvision(config: BoxConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.detectors.torchvision_detector import TorchvisionDetector
    from utils.runtime import pick_device

    return TorchvisionDetector(config.model, config.weights, pick_device(device))


def _build_mmdet(config: BoxConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.detectors.cascade_rcnn import MMDetDetector
    from utils.runtime import pick_device

    return MMDetDetector(config.model, config.weights, pick_device(device))


def _build_file(config: BoxConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.detectors.file import FileDetector

    return FileDetector(config.training_file, config.testing_file, dataset)


# Large networks, which use all cores or a GPU by themselves: extraction has one process then.
DETECTION_NETWORKS = ("torchvision", "mmdet")
_BUILDERS: dict[str, Callable[[BoxConfig, str, DataSet | None], Any]] = {
    "motion": _build_motion,
    "yolox": _build_yolox,
    "torchvision": _build_torchvision,
    "mmdet": _build_mmdet,
    "file": _build_file,
}
