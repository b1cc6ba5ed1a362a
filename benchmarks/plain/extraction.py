"""Cubes in two passes: flow of every frame to a file, then cubes from frames and flow files."""

from __future__ import annotations

from pathlib import Path

import cv2
import joblib
import numpy as np

from pre_process.flow.dis import PRESETS

SIZE = 32


def extract_frames(video: Path, folder: Path, stop: int, suffix: str = ".jpg") -> list[Path]:
    """Decode the first ``stop`` frames into images, which both passes read."""
    folder.mkdir(parents=True, exist_ok=True)
    capture = cv2.VideoCapture(str(video))
    paths = [folder / f"{index:04d}{suffix}" for index in range(stop)]
    for path in paths:
        cv2.imwrite(str(path), capture.read()[1])
    return paths


def write_flows(frames: list[Path], folder: Path, preset: str) -> None:
    """First pass: one ``.npy`` file a frame, float32 (H,W,2), from the frame before to it."""
    folder.mkdir(parents=True, exist_ok=True)
    search = cv2.DISOpticalFlow_create(PRESETS[preset])
    for index, path in enumerate(frames):
        pair = [cv2.imread(str(each)) for each in (frames[max(index - 1, 0)], path)]
        before, after = (cv2.cvtColor(each, cv2.COLOR_BGR2GRAY) for each in pair)
        flow = search.calc(before, after, None) if index else np.zeros((*after.shape, 2), "f4")
        np.save(folder / f"{path.stem}.npy", flow)


def write_cubes(frames: list[Path], flows: Path, boxes: list[np.ndarray], chunk: Path) -> int:
    """Second pass: the cubes of all boxes as a chunk file; returns how many there are."""
    appearance, motion, numbers = [], [], []
    for index, frame_boxes in enumerate(boxes):
        history = [max(index - back, 0) for back in (4, 3, 2, 1, 0)]
        images = np.stack([cv2.imread(str(frames[each])) for each in history])
        fields = np.stack([np.load(flows / f"{frames[each].stem}.npy") for each in history])
        for box in frame_boxes:
            appearance.append(crop(images, box))
            motion.append(crop(fields, box))
            numbers.append(index)
    content = {
        "sample_id": np.arange(len(numbers)),
        "appearance": np.array(appearance),
        "motion": np.array(motion),
        "bbox": np.concatenate(boxes),
        "pred_frame": np.array(numbers)[:, None],
    }
    joblib.dump(content, chunk)
    return len(numbers)


def crop(pictures: np.ndarray, box: np.ndarray) -> np.ndarray:
    """One box cut out of (5,H,W,C), to (5,32,32,C)."""
    x1, y1, x2, y2 = np.ceil(box).astype(int)
    return np.stack([cv2.resize(each[y1:y2, x1:x2], (SIZE, SIZE)) for each in pictures])
