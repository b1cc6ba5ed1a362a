"""Video of another size or rate than the training videos, made like them before it is scored.

Boxes, flow and scores are in pixels and frames: a picture twice as large has boxes four times as
large, and at twice the rate everything moves half as far from frame to frame.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from datasets.manifest import VideoEntry
from datasets.rates import frame_rate, frame_times
from datasets.training_video import RATE_TOLERANCE
from datasets.video_files import TimedFrame
from datasets.videos import read_timed, resized
from inference.faults import take_readable
from inference.thinning import Thinning
from utils.console import echo
from utils.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FittedVideo(VideoEntry):
    """A video as it is scored: ``width``, ``height`` and ``stop`` are those after fitting.

    Attributes:
        original: as it lies on disk; fps: its frames per second, on average.
        step: frames of ``original`` to one of this.
        is_timed: frames are chosen by the container's times; else they are counted.
    """

    original: VideoEntry
    fps: float
    step: float
    is_timed: bool


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
        most = max_side or video.get("max_side", 0)
        return cls(**known, max_side=most, any_rate=any_rate)

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
            "wrong, pass --fps with the true one; train a model on video of this rate; or "
            "pass --any_rate to score it as it is"
        )

    def picture(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H,W,3) uint8 at the size at which it is scored."""
        return resized(picture, self.size(picture.shape[1], picture.shape[0]))

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


@dataclass(frozen=True)
class Recording:
    """A whole video as it is scored.

    Attributes:
        entry: the video, perhaps a ``FittedVideo``.
        fps: frames per second, on average where they come at uneven intervals.
        is_timed: frames begin when the container says; else ``fps`` alone tells.
    """

    entry: VideoEntry
    fps: float
    is_timed: bool = True


def fit_recordings(
    entries: Sequence[VideoEntry],
    stated_fps: float | None,
    default_fps: float,
    fitting: Fitting,
    faults: list[str] | None = None,
) -> list[Recording]:
    """Videos as they will be scored; says what is changed, alike ones together.

    Args:
        entries: the videos.
        stated_fps: frames per second where the files tell them wrongly; ``None``: they do not.
        default_fps: of folders of images.
        fitting: what they are made like.
        faults: see ``take_readable``.

    Raises:
        UserError: a video has too few frames per second.
    """
    alike: Counter[tuple[int, int, float, float]] = Counter()
    first: dict[tuple[int, int, float, float], str] = {}

    def fit(entry: VideoEntry) -> Recording:
        fps = stated_fps or frame_rate(entry, default_fps)
        step = fitting.step(fps, str(entry.source))
        kind = entry.width, entry.height, fps, step
        alike[kind] += 1
        first.setdefault(kind, entry.source.name)
        fitted = _fit(entry, fps, step, fitting, stated_fps is None)
        # Where frames are further apart than in training here and there, fewer are left.
        between = max(entry.num_frames - 1, fitted.num_frames * step)
        return Recording(fitted, fps * fitted.num_frames / between, stated_fps is None)

    fitted = take_readable(entries, fit, faults)
    for kind, count in alike.items():
        fitting.say(*kind, first[kind] + f" and {count - 1} more" * (count > 1))
    return fitted


def _fit(
    entry: VideoEntry, fps: float, step: float, fitting: Fitting, is_timed: bool
) -> VideoEntry:
    size = fitting.size(entry.width, entry.height)
    if step == 1 and size == (entry.width, entry.height):
        return entry
    values = {each.name: getattr(entry, each.name) for each in fields(VideoEntry)}
    values |= {"start": 0, "width": size[0], "height": size[1]}
    times = frame_times(entry) if is_timed and step > 1 else None
    times = np.full(entry.num_frames, math.nan) if times is None else times
    thinning = Thinning(fps, step)
    values["stop"] = sum(thinning.keeps(each) for each in times.tolist())
    return FittedVideo(**values, original=entry, fps=fps, step=step, is_timed=is_timed)


class UnreadableVideo(UserError):
    """A video cannot be read, or not to its end."""


def read_recording(recording: Recording) -> Iterator[TimedFrame]:
    """The frames of a video as they are scored, with their times.

    Raises:
        UnreadableVideo: see ``datasets.videos.read_timed``.
    """
    try:
        for index, frame in enumerate(_read_fitted(recording.entry)):
            is_known = recording.is_timed and not math.isnan(frame.seconds)
            yield frame if is_known else TimedFrame(index / recording.fps, frame.picture)
    except UserError as error:
        raise UnreadableVideo(str(error)) from None


def _read_fitted(entry: VideoEntry) -> Iterator[TimedFrame]:
    if not isinstance(entry, FittedVideo):
        yield from read_timed(entry)
        return
    thinning = Thinning(entry.fps, entry.step)
    for seconds, picture in read_timed(entry.original):
        if thinning.keeps(seconds if entry.is_timed else math.nan):
            yield TimedFrame(seconds, resized(picture, (entry.width, entry.height)))
