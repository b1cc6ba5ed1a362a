"""Made-up inputs of realistic size: cubes, and a video with boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.box_files import box_file, save_boxes

PEOPLE = 14  # boxes a frame on Ped2


def write_video_set(folder: Path, num_frames: int, width: int, height: int) -> DataSet:
    """Two videos of walking rectangles with a box around each, ready for extraction."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name in ("a", "b"):
        path = folder / f"{name}.mp4"
        entry = VideoEntry(name, "training", path, "video", 0, num_frames, width, height)
        boxes = _write_video(path, num_frames, width, height)
        save_boxes(box_file(folder, entry), boxes, {})
        entries.append(entry)
    return DataSet(folder, "bench", tuple(entries))


def _write_video(path: Path, num_frames: int, width: int, height: int) -> list[np.ndarray]:
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, 25.0, (width, height))
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    ground = cv2.blur(noise, (9, 9))
    boxes = []
    for time in range(num_frames):
        picture = ground.copy()
        places = [_place(person, time, width, height) for person in range(PEOPLE)]
        for person, (x1, y1, x2, y2) in enumerate(places):
            picture[y1:y2, x1:x2] = 255 - 10 * person
        writer.write(picture)
        boxes.append(np.array(places, np.float32))
    writer.release()
    return boxes


def _place(person: int, time: int, width: int, height: int) -> tuple[int, int, int, int]:
    left = (40 * person + (1 + person % 3) * time) % (width - 40)
    top = 10 + (height - 60) * person // PEOPLE
    return left, top, left + 20, top + 40
