"""A blue square that goes right and down: which way colours and flow point is plain to see."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

from datasets.manifest import DataSet, VideoEntry, save_dataset

WIDTH, HEIGHT, SIDE = 96, 72, 24
STEP = (3, 1)  # pixels a frame, to the right and down
RGB = (30, 90, 200)


def blue_square(num_frames: int) -> np.ndarray:
    """(T,H,W,3) uint8 RGB: a textured blue square over a still grey texture."""
    rng = np.random.default_rng(0)
    ground = rng.integers(90, 130, (HEIGHT, WIDTH, 1))
    texture = rng.integers(-30, 31, (SIDE // 4, SIDE // 4, 1)).repeat(4, axis=0).repeat(4, axis=1)
    frames = np.repeat(ground, 3, axis=2)[None].repeat(num_frames, axis=0)
    for time in range(num_frames):
        x, y = (8 + STEP[0] * time, 8 + STEP[1] * time)
        frames[time, y : y + SIDE, x : x + SIDE] = np.array(RGB) + texture
    return np.clip(frames, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, num_frames: int) -> None:
    """Frames as PNG, written by another library than the one that reads them."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(blue_square(num_frames)):
        Image.fromarray(frame, "RGB").save(folder / f"{number:03d}.png")


def write_video(path: Path, num_frames: int) -> None:
    """The same as a video file, its frames given as RGB."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.bit_rate = WIDTH, HEIGHT, 4_000_000
        for frame in blue_square(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_dataset(root: Path, num_frames: int = 14) -> DataSet:
    """A training and a testing video, both ``blue_square``."""
    entries = []
    for split in ("training", "testing"):
        folder = root / split / "frames" / "01"
        write_pictures(folder, num_frames)
        entries.append(VideoEntry("01", split, folder, "frames", 0, num_frames, WIDTH, HEIGHT))
    dataset = DataSet(root.absolute(), root.name, tuple(entries))
    save_dataset(dataset)
    return dataset


def require_blue_going_right_and_down(appearance: np.ndarray, motion: np.ndarray) -> None:
    """Cubes of the square: (n,5,32,32,3) BGR, oldest frame first, and (n,4,32,32,2) (u, v).

    Raises:
        AssertionError: colours in another order, time or motion in another direction.
    """
    assert len(appearance)
    blue, green, red = appearance[:, -1].astype(float).mean(axis=(0, 1, 2))
    assert blue > green + 20 > red + 40
    u, v = np.median(motion[:, -1, 8:24, 8:24].astype(float).reshape(-1, 2), axis=0)
    assert abs(u - STEP[0]) < 0.7 and abs(v - STEP[1]) < 0.5
    # A cube shows one place; the square is in the middle of it last, and came from the left.
    blueness = appearance[..., 0].astype(float) - appearance[..., 2]
    column = np.arange(blueness.shape[3])
    centre = (blueness * column).sum(axis=(2, 3)) / blueness.sum(axis=(2, 3))
    assert (np.diff(centre.mean(axis=0)) > 0).all()
