"""Boxes of whole data sets: detection video by video, and pictures of the detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from datasets.cubes.settings import changed_settings
from datasets.manifest import DataSet, VideoEntry
from datasets.videos import read_frames
from pre_process.cluster import Task
from pre_process.detectors.box_files import box_file, load_box_settings, load_boxes, save_boxes
from pre_process.detectors.build import BoxSource, build_box_source
from pre_process.detectors.drawing import draw_boxes, draw_zones, evenly_spaced
from pre_process.detectors.zones import Zones
from utils.config.hf2vad import PreProcessConfig
from utils.files import atomic_path


@dataclass(frozen=True)
class BoxJob:
    """Detection in one data set: call it in each process to get that process's task."""

    config: PreProcessConfig
    dataset: DataSet
    settings: dict[str, Any]

    def __call__(self) -> Task:
        """Build the detector once; the task writes one video's boxes."""
        source = build_box_source(self.config, self.dataset)
        batch_size = self.config.boxes.batch_size

        def detect(entry: VideoEntry, report: Callable[[int], None]) -> None:
            boxes = detect_in_video(source, entry, batch_size, report)
            save_boxes(box_file(self.dataset.root, entry), boxes, self.settings)

        return detect

    def product(self, entry: VideoEntry) -> Path:
        """The file that appears when a video is finished."""
        return box_file(self.dataset.root, entry)

    def changes(self, entry: VideoEntry) -> list[str] | None:
        """Settings that finished boxes were made with otherwise; ``None``: there are no boxes."""
        path = self.product(entry)
        return changed_settings(load_box_settings(path), self.settings) if path.is_file() else None


def detect_in_video(
    source: BoxSource, entry: VideoEntry, batch_size: int, report: Callable[[int], None]
) -> list[np.ndarray]:
    """Boxes of every frame of a video, (n,4) float32 each; ``report`` gets frame counts."""
    source.start(entry)
    boxes: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    for frame in read_frames(entry):
        waiting.append(frame)
        if len(waiting) > batch_size:
            boxes += source(waiting[:batch_size], waiting[batch_size])
            waiting = waiting[batch_size:]
        report(1)
    return boxes + source(waiting, None)


def draw_dataset(dataset: DataSet, count: int, zones: Zones) -> Path:
    """Draw stored boxes and zones on ``count`` frames of each video; the folder of the PNGs."""
    folder = dataset.root / "boxes" / "drawn"
    for entry in tqdm(dataset.entries, desc="drawing", unit="video"):
        boxes = load_boxes(box_file(dataset.root, entry), entry.num_frames)
        chosen = set(evenly_spaced(count, entry.num_frames))
        for index, frame in enumerate(read_frames(entry)):
            if index in chosen:
                target = folder / f"{entry.split}_{entry.name}_{index:05d}.png"
                with atomic_path(target) as temporary:
                    picture = draw_boxes(draw_zones(frame, zones), boxes[index])
                    cv2.imwrite(str(temporary), picture)
    return folder
