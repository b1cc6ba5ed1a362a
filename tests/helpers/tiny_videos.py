"""A data set of tiny videos for the extraction tests: bright squares cross a textured ground."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from datasets.manifest import DataSet, VideoEntry, save_dataset

WIDTH, HEIGHT = 96, 64


def moving_squares(num_frames: int, seed: int = 0, sizes: tuple[int, ...] = (14, 10)) -> np.ndarray:
    """(T,H,W,3) uint8: squares of their own texture, each at its own speed."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    frames = np.repeat(ground[None], num_frames, axis=0)
    for row, size in enumerate(sizes):
        texture = rng.integers(150, 255, (size, size, 3)).astype(np.uint8)
        y, start, speed = 8 + 28 * row, int(rng.integers(0, 20)), 2 + row
        for time in range(num_frames):
            x = (start + speed * time) % (WIDTH - size)
            frames[time, y : y + size, x : x + size] = texture
    return frames


def write_video(path: Path, num_frames: int = 12, fps: float = 5.0) -> Path:
    """Write motion JPEG in an AVI file, of which every OpenCV is capable."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    for frame in moving_squares(num_frames):
        writer.write(frame)
    writer.release()
    return path


def write_timed_video(path: Path, times: Sequence[float], rate: int) -> Path:
    """Write a lossless video whose frames are shown at these seconds; ``rate`` is what it says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for seconds, picture in zip(times, moving_squares(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_dataset(root: Path, lengths: dict[str, tuple[int, ...]] | None = None) -> DataSet:
    """Write folders of PNG frames and ``dataset.json`` under ``root``."""
    lengths = lengths or {"training": (9, 12), "testing": (10,)}
    entries = []
    for split, counts in lengths.items():
        for number, num_frames in enumerate(counts, 1):
            folder = root / split / "frames" / f"{number:02d}"
            folder.mkdir(parents=True)
            for index, frame in enumerate(moving_squares(num_frames, number)):
                cv2.imwrite(str(folder / f"{index:03d}.png"), frame)
            entries.append(
                VideoEntry(folder.name, split, folder, "frames", 0, num_frames, WIDTH, HEIGHT)
            )
    dataset = DataSet(root.absolute(), root.name, tuple(entries))
    save_dataset(dataset)
    return dataset
