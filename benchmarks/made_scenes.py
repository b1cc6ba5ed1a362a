"""Make labelled test scenes of a normal video: pasted objects, fast and reversed walkers, speed-up.

The first part of the video is for training; the rest is changed in several ways, each a test video.
For measuring what score terms are worth on more than one scene; what is pasted is crude.

python -m benchmarks.made_scenes --video pedestrians.avi --output data/street
python -m benchmarks.made_scenes --video pedestrians.avi --output data/fast --changes fast
python -m benchmarks.made_scenes --video pedestrians.avi --output data/reversed --changes reversed
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from datasets.labels.frame_labels import save_labels
from datasets.manifest import DataSet, save_dataset
from datasets.videos import describe_video, read_frames
from utils.console import echo

Clip = tuple[np.ndarray, np.ndarray]  # frames (T,H,W,3) uint8 BGR, labels (T,) uint8
_TRAINING_SHARE, _FASTER = 0.55, 3
CHANGES = ("fast", "cart", "dog", "ball", "speedup", "reversed")


def walkers(base: np.ndarray, source: np.ndarray, background: np.ndarray, speed: int) -> Clip:
    """People of ``source`` walk over ``base``, from its second quarter on.

    Args:
        base, source: frames of the scene.
        background: the scene without people.
        speed: times as fast as they are; negative: they walk backwards.
    """
    frames, labels = base.copy(), np.zeros(len(base), np.uint8)
    shown = source[::speed][: len(base) // 3]
    start = len(base) // 4
    for step, person in enumerate(shown):
        mask = _foreground(person, background)
        frames[start + step] = _paste(frames[start + step], person, mask)
        labels[start + step] = mask.sum() > 250
    return frames, labels


def one_way(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The scene with those people alone who walk to the left."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    kept = []
    for frame, before, now in zip(frames, [grey[0], *grey], grey, strict=False):
        mask = _foreground(frame, background)
        motion = flow.calc(before, now, None)[..., :1]
        # Averaged over about a person: a swinging leg goes the other way.
        towards = cv2.blur(motion * mask, (15, 31))
        kept.append(_paste(background, frame, mask * (towards < 0)[..., None]))
    return np.stack(kept)


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


def make_scene(
    videos: Sequence[np.ndarray],
    walk: float,
    seed: int,
    changes: Collection[str] = CHANGES[:-1],
) -> tuple[list[np.ndarray], dict[str, Clip]]:
    """Training videos, and test videos by name.

    Args:
        videos: normal ones, each (T,H,W,3) uint8 BGR, of one camera: the last is changed, the
            others are for training; the only one is cut in two.
        walk: pixels a frame of normal walkers.
        seed: of pasted objects.
        changes: of ``CHANGES``. With ``reversed`` all people walk to the left, but those who walk
            backwards to the right: where people go both ways, nothing would tell them apart.
    """
    joined = np.concatenate(videos)
    background = np.median(joined[:: max(1, len(joined) // 60)], axis=0).astype(np.uint8)
    if "reversed" in changes:
        videos = [one_way(frames, background) for frames in videos]
    if len(videos) == 1:
        videos = np.split(videos[0], [int(_TRAINING_SHARE * len(joined))])
    *training, base = videos
    height = base.shape[1]
    source = training[-1][len(training[-1]) // 4 :]
    makers: dict[str, Callable[[], Clip]] = {
        "fast": lambda: walkers(base, source, background, _FASTER),
        "cart": lambda: moving_object(base, cart, int(0.16 * height), 1.2 * walk, seed),
        "dog": lambda: moving_object(base, dog, int(0.13 * height), 1.2 * walk, seed + 1),
        "ball": lambda: moving_object(base, ball, int(0.12 * height), 2.5 * walk, seed + 2),
        "speedup": lambda: speed_up(base),
        "reversed": lambda: walkers(base, source, background, -1),
    }
    return training, {name: make() for name, make in makers.items() if name in changes}


def enlarged_part(frames: np.ndarray, part: Sequence[float]) -> np.ndarray:
    """A part of each frame at the whole frame's size; ``part``: x, y, width, height as shares."""
    height, width = frames.shape[1:3]
    x0, y0, shares_x, shares_y = part
    rows = slice(round(y0 * height), round((y0 + shares_y) * height))
    columns = slice(round(x0 * width), round((x0 + shares_x) * width))
    size = width, round(width * (rows.stop - rows.start) / (columns.stop - columns.start))
    resize = partial(cv2.resize, dsize=size, interpolation=cv2.INTER_CUBIC)
    return np.stack([resize(frame[rows, columns]) for frame in frames])


def write_scene(
    root: Path, training: Sequence[np.ndarray], tests: dict[str, Clip], fps: float
) -> None:
    """Write a data set with labels; all videos are encoded alike."""
    clips = {("training", f"{number:02d}"): each for number, each in enumerate(training, 1)}
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
    parser.add_argument(
        "--video",
        required=True,
        nargs="+",
        type=Path,
        help="one, to be cut in two, or several: the last is changed, the others are for training",
    )
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--walk", type=float, default=2.5, help="pixels a frame of a walker")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=CHANGES[:-1])
    parser.add_argument(
        "--part",
        nargs=4,
        type=float,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="only this part of the picture, as shares of it, enlarged",
    )
    options = parser.parse_args()
    entries = [describe_video(path, "training") for path in options.video]
    videos = [np.stack(list(read_frames(entry))) for entry in entries]
    if options.part:
        videos = [enlarged_part(frames, options.part) for frames in videos]
    training, tests = make_scene(videos, options.walk, options.seed, options.changes)
    write_scene(options.output, training, tests, options.fps)
    counts = {name: f"{int(labels.sum())} of {len(labels)}" for name, (_, labels) in tests.items()}
    frames = sum(map(len, training))
    echo(f"{options.output}: {frames} training frames; abnormal test frames: {counts}")


if __name__ == "__main__":
    main()
