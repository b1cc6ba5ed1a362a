"""Make labelled test scenes of a normal video: pasted objects, fast walkers, speed-up.

The first part of the video is for training; the rest is changed in five ways, each a test video.
For measuring what score terms are worth on more than one scene; what is pasted is crude.

python -m benchmarks.made_scenes --video pedestrians.avi --output data/street
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from datasets.labels.frame_labels import save_labels
from datasets.manifest import DataSet, save_dataset
from datasets.videos import describe_video, read_frames
from utils.console import echo

Clip = tuple[np.ndarray, np.ndarray]  # frames (T,H,W,3) uint8 BGR, labels (T,) uint8
_TRAINING_SHARE, _FASTER = 0.55, 3


def fast_walkers(base: np.ndarray, source: np.ndarray, background: np.ndarray) -> Clip:
    """People of ``source`` walk over ``base`` three times as fast, in its second quarter."""
    frames, labels = base.copy(), np.zeros(len(base), np.uint8)
    start, count = len(base) // 4, min(len(base) // 3, len(source) // _FASTER)
    for step in range(count):
        person = source[step * _FASTER]
        mask = _foreground(person, background)
        frames[start + step] = _paste(frames[start + step], person, mask)
        labels[start + step] = mask.sum() > 250
    return frames, labels


def moving_object(
    base: np.ndarray, draw: Callable[[int, int], np.ndarray], size: int, speed: float, seed: int
) -> Clip:
    """Something of the scene's own colours crosses it from left to right.

    Args:
        base: normal frames.
        draw: (size, step) -> its mask (h,w) float32.
        size: pixels; speed: pixels a frame.
        seed: of colours and height.
    """
    rng = np.random.default_rng(seed)
    frames, labels = base.copy(), np.zeros(len(base), np.uint8)
    height, width = base.shape[1:3]
    colours = base[0].reshape(-1, 3)[rng.integers(0, height * width, 16)].reshape(4, 4, 3)
    foot = int(height * rng.uniform(0.4, 0.75))
    for step, place in enumerate(range(len(base) // 4, len(base) * 3 // 4)):
        mask = draw(size, step)
        left, top = int(speed * step) - size, foot - mask.shape[0]
        picture = cv2.resize(colours, mask.shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.8
        x0, x1 = max(0, left), min(width, left + mask.shape[1])
        if x1 - x0 < 4 or top < 0:
            continue
        window = np.s_[top:foot, x0:x1]
        part = np.s_[:, x0 - left : x1 - left]
        noisy = picture[part] + rng.normal(0, 3, picture[part].shape)
        frames[place][window] = _paste(frames[place][window], noisy, mask[part][..., None])
        labels[place] = 1
    return frames, labels


def speed_up(base: np.ndarray) -> Clip:
    """The middle of a video plays three times as fast."""
    start, stop = len(base) // 4, len(base) // 4 + _FASTER * (len(base) // 6)
    parts = base[:start], base[start:stop:_FASTER], base[stop:]
    labels = [np.full(len(part), number == 1, np.uint8) for number, part in enumerate(parts)]
    return np.concatenate(parts), np.concatenate(labels)


def cart(size: int, _step: int) -> np.ndarray:
    """A box on two wheels."""
    mask = np.zeros((size, int(1.6 * size)), np.float32)
    mask[: int(0.75 * size)] = 1
    for share in (0.25, 0.75):
        cv2.circle(mask, (int(share * mask.shape[1]), int(0.8 * size)), size // 5, 1, -1)
    return mask


def dog(size: int, step: int) -> np.ndarray:
    """A body on four legs that move."""
    height = size // 2
    mask = np.zeros((height, size), np.float32)
    cv2.ellipse(mask, (size // 2, height // 3), (int(0.42 * size), height // 4), 0, 0, 360, 1, -1)
    for share in (0.2, 0.35, 0.65, 0.8):
        foot = int(size * share + 3 * np.sin(step + 9 * share)), height - 1
        cv2.line(mask, (int(size * share), height // 2), foot, 1, 2)
    return mask


def ball(size: int, _step: int) -> np.ndarray:
    """A disc."""
    mask = np.zeros((size // 2, size // 2), np.float32)
    cv2.circle(mask, (size // 4, size // 4), size // 4 - 1, 1, -1)
    return mask


def make_scene(frames: np.ndarray, walk: float, seed: int) -> tuple[np.ndarray, dict[str, Clip]]:
    """Training frames, and test videos by name; ``walk``: pixels a frame of normal walkers."""
    cut = int(_TRAINING_SHARE * len(frames))
    training, base = frames[:cut], frames[cut:]
    background = np.median(frames[:: max(1, len(frames) // 60)], axis=0).astype(np.uint8)
    height = frames.shape[1]
    return training, {
        "fast": fast_walkers(base, training[len(training) // 4 :], background),
        "cart": moving_object(base, cart, int(0.16 * height), 1.2 * walk, seed),
        "dog": moving_object(base, dog, int(0.13 * height), 1.2 * walk, seed + 1),
        "ball": moving_object(base, ball, int(0.12 * height), 2.5 * walk, seed + 2),
        "speedup": speed_up(base),
    }


def write_scene(root: Path, training: np.ndarray, tests: dict[str, Clip], fps: float) -> None:
    """Write a data set with labels; all videos are encoded alike."""
    clips = {("training", "01"): training}
    clips |= {("testing", name): frames for name, (frames, _) in tests.items()}
    entries = []
    for (split, name), frames in clips.items():
        path = root / split / "videos" / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = frames.shape[2], frames.shape[1]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, size)
        for frame in frames:
            writer.write(frame)
        writer.release()
        entries.append(describe_video(path, split))
    save_dataset(DataSet(root, root.name, tuple(entries)))
    save_labels(root, {name: labels for name, (_, labels) in tests.items()})


def _foreground(frame: np.ndarray, background: np.ndarray) -> np.ndarray:
    difference = cv2.GaussianBlur(cv2.absdiff(frame, background).max(2), (5, 5), 0)
    mask = cv2.morphologyEx((difference > 25).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    return cv2.GaussianBlur(cv2.dilate(mask, np.ones((3, 3))).astype(np.float32), (3, 3), 0)[
        ..., None
    ]


def _paste(frame: np.ndarray, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.clip(frame * (1 - mask) + picture * mask, 0, 255).astype(np.uint8)


def main() -> None:
    """Make a scene of a video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--walk", type=float, default=2.5, help="pixels a frame of a walker")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    frames = np.stack(list(read_frames(describe_video(options.video, "training"))))
    training, tests = make_scene(frames, options.walk, options.seed)
    write_scene(options.output, training, tests, options.fps)
    counts = {name: f"{int(labels.sum())} of {len(labels)}" for name, (_, labels) in tests.items()}
    echo(f"{options.output}: {len(training)} training frames; abnormal test frames: {counts}")


if __name__ == "__main__":
    main()
