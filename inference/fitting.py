"""Video of another size or rate than the training videos, made like them before it is scored.

Boxes, flow and scores are in pixels and frames: a picture twice as large has boxes four times as
large, and at twice the rate everything moves half as far from frame to frame.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from datasets.manifest import VideoEntry
from datasets.training_video import RATE_TOLERANCE
from datasets.videos import read_frames
from utils.console import echo
from utils.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedVideo(VideoEntry):
    """A video as it is scored: ``width``, ``height`` and ``stop`` are those after fitting.

    Attributes:
        original: as it lies on disk.
        step: frames of ``original`` to one of this.
    """

    original: VideoEntry
    step: float


@dataclass(frozen=True)
class Fitting:
    """What videos are made like.

    Attributes:
        width, height: of the training videos; 0: any.
        fps: their frames per second; 0: any.
        max_side: longest side of a picture; 0: any.
        any_rate: score videos of another rate as they are.
    """

    width: int = 0
    height: int = 0
    fps: float = 0.0
    max_side: int = 0
    any_rate: bool = False

    @classmethod
    def of(
        cls, checkpoint: Mapping[str, Any], max_side: int | None = None, any_rate: bool = False
    ) -> Fitting:
        """For a checkpoint; one that does not know its training videos takes any."""
        video = checkpoint.get("video") or {}
        known = {name: video[name] for name in ("width", "height", "fps") if name in video}
        return cls(**known, max_side=max_side or 0, any_rate=any_rate)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size at which a picture is scored, its shape kept, inside that of training."""
        scale = 1.0
        if self.width and self.height:
            scale = min(self.width / width, self.height / height)
        if self.max_side:
            scale = min(scale, self.max_side / max(width, height))
        return max(2, round(scale * width)), max(2, round(scale * height))

    def is_rate(self, fps: float) -> bool:
        """Whether a rate is that of the training videos, or theirs is not known."""
        return not self.fps or abs(fps - self.fps) <= RATE_TOLERANCE * self.fps

    def step(self, fps: float, shown: str) -> float:
        """Frames of a video of this rate to one that is scored, at least 1.

        Raises:
            UserError: ``shown`` has fewer frames per second than the training videos.
        """
        if self.any_rate or self.is_rate(fps):
            return 1.0
        if fps > self.fps:
            return fps / self.fps
        raise UserError(
            f"{shown}: {fps:.4g} frames per second, and the model was trained at {self.fps:.4g}: "
            f"everything would seem to move {self.fps / fps:.2g} times as fast. Where the rate is "
            "told wrongly, pass --fps with the true one; train a model on video of this rate; or "
            "pass --any_rate to score it as it is"
        )

    def picture(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H,W,3) uint8 at the size at which it is scored."""
        return _resized(picture, self.size(picture.shape[1], picture.shape[0]))

    def say(self, width: int, height: int, fps: float, step: float, shown: str) -> None:
        """Tell what is changed of a video, if anything is."""
        for remark in self._remarks(width, height, fps, step):
            echo(f"{shown}: {remark}")

    def _remarks(self, width: int, height: int, fps: float, step: float) -> Iterator[str]:
        size = self.size(width, height)
        if size != (width, height):
            why = "the training videos' size" if self.width else "--max_side"
            if self.width and size != _inside(width, height, self.width, self.height):
                why = "--max_side; objects are smaller than in training, scores may not fit"
            yield f"{width}x{height} scaled to {size[0]}x{size[1]} ({why})"
        if step > 1:
            yield f"{fps:.4g} frames per second, 1 of {step:.3g} is scored: {fps / step:.4g}"
        elif not self.is_rate(fps):
            yield (
                f"{fps:.4g} frames per second, not {self.fps:.4g} as in training (--any_rate): "
                "scores and threshold may not fit"
            )


def _inside(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    return Fitting(most_width, most_height).size(width, height)


def fit_videos(
    entries: Sequence[VideoEntry], rates: Sequence[float], fitting: Fitting
) -> tuple[list[VideoEntry], list[float]]:
    """Videos as they will be scored, with their rates; says what is changed, alike ones together.

    Raises:
        UserError: a video has too few frames per second.
    """
    fitted: list[VideoEntry] = []
    steps: list[float] = []
    alike: Counter[tuple[int, int, float, float]] = Counter()
    first: dict[tuple[int, int, float, float], str] = {}
    for entry, fps in zip(entries, rates, strict=True):
        step = fitting.step(fps, str(entry.source))
        steps.append(step)
        fitted.append(_fit(entry, step, fitting.size(entry.width, entry.height)))
        kind = entry.width, entry.height, fps, step
        alike[kind] += 1
        first.setdefault(kind, entry.source.name)
    for kind, count in alike.items():
        fitting.say(*kind, first[kind] + f" and {count - 1} more" * (count > 1))
    return fitted, [fps / step for fps, step in zip(rates, steps, strict=True)]


def _fit(entry: VideoEntry, step: float, size: tuple[int, int]) -> VideoEntry:
    if step == 1 and size == (entry.width, entry.height):
        return entry
    values = {each.name: getattr(entry, each.name) for each in fields(VideoEntry)}
    count = int((entry.num_frames - 1) / step) + 1
    values |= {"start": 0, "stop": count, "width": size[0], "height": size[1]}
    return FittedVideo(**values, original=entry, step=step)


def read_fitted(entry: VideoEntry) -> Iterator[np.ndarray]:
    """``datasets.videos.read_frames`` of a video that may have been fitted."""
    if not isinstance(entry, FittedVideo):
        yield from read_frames(entry)
        return
    for picture in thinned(read_frames(entry.original), entry.step):
        yield _resized(picture, (entry.width, entry.height))


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width = picture.shape[1]
    if size == (width, picture.shape[0]):
        return picture
    method = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    return cv2.resize(picture, size, interpolation=method)


def thinned(frames: Iterable[Any], step: float) -> Iterator[Any]:
    """The first of every ``step`` frames, a number of at least 1 that need not be whole."""
    last = -1
    for index, frame in enumerate(frames):
        if int(index / step) != last:
            last = int(index / step)
            yield frame
