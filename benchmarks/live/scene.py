"""A made-up street at 640x480 with six walkers, and a small trained model of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import fit
from visualization.video_writer import VideoWriter

WIDTH, HEIGHT, FPS = 640, 480, 25
_LANES, _TALL, _WIDE = (70, 220, 370), 84, 34  # upper edges of three lanes, sizes of a walker
_TRAINING_FRAMES, _FAST = 120, 10
ROUND = WIDTH - _WIDE  # frames after which all walkers are where they were


class Street:
    """Frames of two walkers in each of three lanes, with a camera's noise; they go round.

    Args:
        with_visitor: for some seconds of every round something large and fast crosses.
        seed: of textures.
    """

    def __init__(self, with_visitor: bool, seed: int = 0) -> None:
        self._with_visitor = with_visitor
        chance = np.random.default_rng(seed)
        grey = chance.integers(80, 140, (HEIGHT // 16, WIDTH // 16)).astype(np.uint8)
        large = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self._ground = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)
        sizes = (2 * len(_LANES), _TALL // 6, _WIDE // 6 + 1, 3)
        self._clothes = [
            cv2.resize(each, (_WIDE, _TALL), interpolation=cv2.INTER_NEAREST)
            for each in chance.integers(0, 255, sizes).astype(np.uint8)
        ]
        shape = (16, HEIGHT, WIDTH, 3)
        self._noise = chance.normal(0, 2, shape).round().astype(np.int8)

    def frame(self, index: int) -> np.ndarray:
        """(H,W,3) uint8 BGR."""
        picture = self._ground.copy()
        for number, clothes in enumerate(self._clothes):
            lane, speed = number // 2, 2 + number // 2 % 2
            left = (speed * index + number % 2 * WIDTH // 2) % (WIDTH - _WIDE)
            top = _LANES[lane]
            picture[top : top + _TALL, left : left + _WIDE] = clothes
        passed = index % ROUND - ROUND // 2
        if self._with_visitor and 0 <= passed < (WIDTH - 60) // _FAST:
            left = _FAST * passed
            cv2.circle(picture, (left + 30, 340), 28, (40, 220, 250), -1)
        return cv2.add(picture, self._noise[index % len(self._noise)], dtype=cv2.CV_8U)


def write_street(path: Path, num_frames: int, with_visitor: bool) -> Path:
    """H.264, as cameras record."""
    street = Street(with_visitor)
    with VideoWriter(path, FPS) as out:
        for index in range(num_frames):
            out.write(street.frame(index))
    return path


def train_model(folder: Path, cfg_file: str) -> Path:
    """Train an epoch of each stage on a stretch of the street, through ``fit.py``.

    Returns:
        The run's folder; one that is there already is taken as it is.
    """
    run = folder / "runs" / "street"
    if (run / "finetune" / "last.pth").exists():
        return run
    write_street(folder / "normal" / "street.mp4", _TRAINING_FRAMES, with_visitor=False)
    epochs = [f"{stage}.num_epochs=1" for stage in ("ml_memae_sc", "cvae", "finetune")]
    places = [f"run.root={folder / 'runs'}", f"data.root={folder / 'data'}", "run.device=cpu"]
    fit.main(["--normal", str(folder / "normal"), "--name", "street", "--cfg_file", cfg_file,
              "--set", *places, *epochs])  # fmt: skip
    return run
