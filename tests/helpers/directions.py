"""Cubes of which only their direction tells normal from abnormal.

A bright block moves over a dark ground, normally to the left or right, abnormally up or down, at
speeds of one distribution: motion energy and brightness are alike, and so are the errors of a
network that has learned nothing. In the toy scene they are not: random weights reach a hybrid AUC
of 0.94 to 0.98 there, so it cannot show that anything is learned.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.cubes.files import write_cubes
from datasets.labels.frame_labels import save_labels
from datasets.manifest import DataSet, VideoEntry, save_dataset

SPEED = (1.0, 3.0)  # pixels a frame
GROUND, BLOCK = 60, (200, 180, 160)
TEST_LABELS = np.repeat([0, 1, 0], [20, 25, 15]).astype(np.uint8)


def write_directions(root: Path, seed: int, training_cubes: int = 320) -> None:
    """A normal training video and two test videos, each with one cube a frame."""
    rng = np.random.default_rng(seed)
    labels = {"01": TEST_LABELS, "02": TEST_LABELS}
    entries = [_write_video(root, "training", "01", np.zeros(training_cubes, int), rng)]
    entries += [_write_video(root, "testing", name, each, rng) for name, each in labels.items()]
    save_dataset(DataSet(root, "directions", tuple(entries)))
    save_labels(root, labels)


def _write_video(
    root: Path, split: str, name: str, labels: np.ndarray, rng: np.random.Generator
) -> VideoEntry:
    facts = {"video": name, "split": split, "num_frames": len(labels), "width": 64, "height": 48,
             "settings": {"flow.preset": "medium"}}  # fmt: skip
    with write_cubes(root / "cubes" / split / name, facts) as writer:
        for frame, label in enumerate(labels):
            box = np.array([[4, 4, 20, 24]], np.float32)
            writer.append(frame, box, *_cube(rng, vertical=bool(label)))
    return VideoEntry(name, split, root, "frames", 0, len(labels), 64, 48)


def _cube(rng: np.random.Generator, vertical: bool) -> tuple[np.ndarray, np.ndarray]:
    """(1,5,32,32,3) uint8 and (1,4,32,32,2) float16; the block is in the middle at last."""
    velocity = np.zeros(2)
    velocity[int(vertical)] = rng.uniform(*SPEED) * rng.choice([-1, 1])
    width, height = rng.integers(10, 19, 2)
    y, x = np.mgrid[:32, :32]
    appearance, motion = np.empty((5, 32, 32, 3)), np.zeros((4, 32, 32, 2))
    for time in range(5):
        centre = 15.5 + velocity * (time - 4)
        inside = (np.abs(x - centre[0]) < width / 2) & (np.abs(y - centre[1]) < height / 2)
        appearance[time] = np.where(inside[..., None], BLOCK, GROUND)
        if time:
            motion[time - 1][inside] = velocity
    appearance += rng.normal(0, 4, appearance.shape)
    motion += rng.normal(0, 0.1, motion.shape)
    return appearance.clip(0, 255).astype(np.uint8)[None], motion.astype(np.float16)[None]
