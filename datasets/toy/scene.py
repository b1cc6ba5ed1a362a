"""The toy scene: a synthetic street camera with normal walkers and three kinds of anomaly.

People of different size, speed and gait cross a textured street under a noisy, flickering camera.
Test videos add people who are too fast, who look wrong (bright turning checks) at walking speed,
and who move wrongly (sliding, diagonal, hopping) at walking speed. The scene is made so that motion
energy alone tells little: normal runners have more of it than two of the three kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from datasets.labels.frame_labels import save_labels
from datasets.labels.regions import Region, write_regions
from datasets.manifest import DataSet, VideoEntry, save_dataset
from datasets.toy.people import HEIGHT, WIDTH, Actor
from datasets.toy.script import ANOMALY_KINDS, write_script
from datasets.toy.walkers import sprite
from utils.errors import UserError
from utils.files import atomic_path, remove_parts, write_text

FRAMES_PER_SECOND = 25
_NOISE = 1.5  # standard deviation of the camera noise, grey levels
_FLICKER = 0.012  # standard deviation of the frame's brightness factor
_VISIBLE = 0.15  # share of the body inside the frame from which an anomaly counts


@dataclass(frozen=True)
class Rendered:
    """A drawn video: frames (T,H,W,3) uint8 BGR and the anomalous regions in them."""

    frames: np.ndarray
    regions: list[Region]
    kinds: dict[int, str]  # track -> kind of anomaly


def write_toy(
    root: str | Path,
    seed: int = 0,
    *,
    training_videos: int = 8,
    testing_videos: int = 9,
    num_frames: int = 180,
    progress: bool = False,
) -> DataSet:
    """Write the toy scene as a data set.

    Writes ``training/videos/NN.avi`` and ``testing/videos/NN.avi`` (Motion JPEG, 25 frames a
    second), ``dataset.json``, ``labels.npz``, ``regions.csv`` (boxes of the anomalous people) and
    ``anomalies.csv`` (video, track, kind). The same seed gives the same files.

    Args:
        root: the data set's folder, for example ``data/toy``.
        seed: seed of everything random.
        training_videos: number of normal videos, at least 1.
        testing_videos: number of test videos; the kinds of anomaly take turns.
        num_frames: length of each video, at least 5.
        progress: show a progress bar on standard error.

    Raises:
        UserError: a count is too small, or OpenCV cannot write the video.
    """
    if training_videos < 1 or testing_videos < 0 or num_frames < 5:
        raise UserError(
            "toy scene: training_videos must be 1 or more, testing_videos 0 or more, "
            "num_frames 5 or more"
        )
    root = Path(root).absolute()
    for folder in root.glob("*/videos"):  # of a scene whose writing was killed
        remove_parts(folder)
    plan: list[tuple[str, int, str | None]] = [
        ("training", index, None) for index in range(training_videos)
    ]
    plan += [("testing", index, ANOMALY_KINDS[index % 3]) for index in range(testing_videos)]
    background = render_street(np.random.default_rng([seed, 0]))
    entries, labels, regions, kinds = [], {}, [], ["video,track,kind"]
    for split, index, kind in tqdm(plan, desc="toy scene", unit="video", disable=not progress):
        name = f"{index + 1:02d}"
        rng = np.random.default_rng([seed, 1 if split == "training" else 2, index])
        video = render_video(rng, background, name, num_frames, kind)
        path = root / split / "videos" / f"{name}.avi"
        _write_video(path, video.frames)
        entries.append(VideoEntry(name, split, path, "video", 0, num_frames, WIDTH, HEIGHT))
        if split == "testing":
            labels[name] = _frame_labels(video.regions, num_frames)
            regions += video.regions
            kinds += [f"{name},{track},{kind}" for track, kind in video.kinds.items()]
    dataset = DataSet(root, root.name, tuple(entries))
    save_labels(root, labels)
    write_regions(root / "regions.csv", regions)
    write_text(root / "anomalies.csv", "\n".join(kinds) + "\n")
    save_dataset(dataset)
    return dataset


def render_video(
    rng: np.random.Generator, background: np.ndarray, name: str, num_frames: int, kind: str | None
) -> Rendered:
    """Cast and draw one video on a background (H,W,3) float32."""
    actors = write_script(rng, num_frames, kind)
    grain = _NOISE * rng.standard_normal((3 * HEIGHT, 3 * WIDTH, 1), np.float32) + 0.5
    frames = np.empty((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    regions: list[Region] = []
    for index in range(num_frames):
        canvas = background.copy()
        for track, actor in enumerate(actors):
            box = _draw(canvas, actor, index)
            if box is not None and actor.kind != "normal":
                regions.append(Region(name, index, track, *box))
        frames[index] = _camera(canvas, grain, rng)
    visible = {region.track for region in regions}
    return Rendered(frames, regions, {track: actors[track].kind for track in sorted(visible)})


def _draw(canvas: np.ndarray, actor: Actor, frame: int) -> tuple[int, int, int, int] | None:
    """Draw an actor in place; the box of what is visible, None when too little is."""
    pose = actor.pose(frame)
    if pose is None:
        return None
    colour, alpha, left, top = sprite(actor.look, actor.gait, pose)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + alpha.shape[1], WIDTH), min(top + alpha.shape[0], HEIGHT)
    if x1 >= x2 or y1 >= y2:
        return None
    inside = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    target = canvas[y1:y2, x1:x2]
    target *= 1 - alpha[inside][..., None]
    target += colour[inside]
    if alpha[inside].sum() < _VISIBLE * alpha.sum():
        return None
    rows, columns = np.nonzero(alpha[inside] > 0.3)
    return (
        int(x1 + columns.min()),
        int(y1 + rows.min()),
        int(x1 + columns.max() + 1),
        int(y1 + rows.max() + 1),
    )


def render_street(rng: np.random.Generator) -> np.ndarray:
    """A street (H,W,3) float32 BGR: grain of the pavement at several scales, kerbs, a wall."""
    street = np.full((HEIGHT, WIDTH), 138.0, np.float32)
    for sigma, strength in ((0.8, 5.0), (3.0, 6.0), (14.0, 7.0)):
        noise = rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
        street += strength * smooth / smooth.std()
    for row in (46, 92, 140):
        street[row : row + 2] += 14
    street[:14] -= 30
    street[:14:5] += 12
    tint = np.array([1.02, 1.0, 0.97], np.float32)
    return street[..., None] * tint


def _camera(canvas: np.ndarray, grain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flicker and grain; the grain of a frame is a random window of a larger field."""
    top, left = rng.integers(grain.shape[0] - HEIGHT), rng.integers(grain.shape[1] - WIDTH)
    canvas *= 1 + _FLICKER * rng.normal()
    canvas += grain[top : top + HEIGHT, left : left + WIDTH]
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _frame_labels(regions: list[Region], num_frames: int) -> np.ndarray:
    labels = np.zeros(num_frames, np.uint8)
    labels[[region.frame for region in regions]] = 1
    return labels


def _write_video(path: Path, frames: np.ndarray) -> None:
    size = (frames.shape[2], frames.shape[1])
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    with atomic_path(path) as temporary:
        # OpenCV's own Motion JPEG writer needs no system codec and is the same everywhere.
        writer = cv2.VideoWriter(
            str(temporary), cv2.CAP_OPENCV_MJPEG, codec, FRAMES_PER_SECOND, size
        )
        if not writer.isOpened():
            raise UserError(f"{path}: OpenCV cannot write Motion JPEG here; check the folder")
        writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 98)
        for frame in frames:
            writer.write(frame)
        writer.release()
