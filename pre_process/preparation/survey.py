"""What a folder of normal videos holds, before anything is computed, and what is too little."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2

from datasets.manifest import VideoEntry
from datasets.rates import frame_rate
from datasets.videos import read_frames
from pre_process.cubes.extractor import build_extractor
from pre_process.cubes.settings import is_network
from pre_process.work_arguments import pick_workers
from utils.config.hf2vad import PreProcessConfig
from utils.console import format_table
from utils.errors import UserError

ENOUGH_MINUTES, ENOUGH_CUBES = 10.0, 3000  # below, the survey says what that costs
_SAMPLED_VIDEOS, _SAMPLED_FRAMES, _AT_ONCE = 5, 40, 8


@dataclass(frozen=True)
class Survey:
    """Numbers of normal videos.

    Attributes:
        fps: frames per second of each video; frames: how many all have.
        cubes_per_frame: boxes in a frame, on average of a sample.
        seconds_per_frame: of extraction by one process, in the sample.
        workers: processes that extraction will use.
    """

    entries: Sequence[VideoEntry]
    fps: Sequence[float]
    cubes_per_frame: float
    seconds_per_frame: float
    workers: int = 1

    @property
    def frames(self) -> int:
        """Frames of all videos."""
        return sum(entry.num_frames for entry in self.entries)

    @property
    def minutes(self) -> float:
        """Length of all videos."""
        pairs = zip(self.entries, self.fps, strict=True)
        return sum(entry.num_frames / fps for entry, fps in pairs) / 60

    @property
    def cubes(self) -> int:
        """Expected cubes of all videos."""
        return round(self.cubes_per_frame * self.frames)

    @property
    def extraction_seconds(self) -> float:
        """Expected; a video is one process's."""
        longest = max(entry.num_frames for entry in self.entries)
        return self.seconds_per_frame * max(self.frames / self.workers, longest)

    def table(self) -> list[tuple[str, ...]]:
        """A row a video: name, minutes, frames, size, frames per second."""
        return [
            (
                entry.name,
                f"{entry.num_frames / fps / 60:.1f}",
                str(entry.num_frames),
                f"{entry.width}x{entry.height}",
                f"{fps:.4g}",
            )
            for entry, fps in zip(self.entries, self.fps, strict=True)
        ]

    def describe(self) -> str:
        """All of it in words."""
        header = ("video", "minutes", "frames", "size", "frames/s")
        per_minute = self.cubes / max(self.minutes, 1e-9)
        lines = [
            format_table(header, self.table()),
            f"{self.minutes:.3g} minutes, about {per_minute:.0f} boxes a minute",
            *(f"  note: {remark}" for remark in self.remarks()),
        ]
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """What is too little or does not fit together, and what that costs."""
        found = []
        if self.minutes < ENOUGH_MINUTES:
            found.append(
                f"{self.minutes:.2g} minutes of normal video: what happens less often than that "
                f"raises alarms; take {ENOUGH_MINUTES:.0f} minutes or more, of all times of day"
            )
        if self.cubes < ENOUGH_CUBES:
            found.append(
                f"about {self.cubes} boxes in all: normal looks and movements are known from few "
                "examples, so the threshold is rough; record when more is going on"
            )
        sizes = {(entry.width, entry.height) for entry in self.entries}
        if len(sizes) > 1:
            found.append(
                "videos of different sizes: flow is measured in pixels, so the same walk is faster "
                "in the larger one; use videos of one camera and one size"
            )
        if max(self.fps) > 1.1 * min(self.fps):
            found.append(
                f"videos of {min(self.fps):.4g} to {max(self.fps):.4g} frames per second: the same "
                "walk is faster where frames are fewer; use videos of one rate"
            )
        return found


def survey(entries: Sequence[VideoEntry], config: PreProcessConfig, default_fps: float) -> Survey:
    """Look at normal videos; boxes and time are estimated from the beginning of some.

    Args:
        entries: the videos.
        config: how cubes are extracted.
        default_fps: of folders of images.

    Raises:
        UserError: no video, or no box in any sampled frame.
    """
    fps = [frame_rate(entry, default_fps) for entry in entries]
    step = max(1, len(entries) // _SAMPLED_VIDEOS)
    counts, seconds = 0, 0.0
    frames = 0
    workers = pick_workers(0, any(map(is_network, (config.boxes.backend, config.flow.backend))))
    extractor = build_extractor(config, batch_size=_AT_ONCE)
    with _one_thread() if workers > 1 else contextlib.nullcontext():
        for entry in list(entries)[::step][:_SAMPLED_VIDEOS]:
            extractor.start()
            began = time.perf_counter()
            for frame, _ in zip(read_frames(entry), range(_SAMPLED_FRAMES), strict=False):
                counts += sum(len(each.boxes) for each in extractor.push(frame))
                frames += 1
            counts += sum(len(each.boxes) for each in extractor.flush())
            seconds += time.perf_counter() - began
    if not counts:
        raise UserError(
            f"no box in the first {_SAMPLED_FRAMES} frames of {frames // _SAMPLED_FRAMES or 1} "
            "video(s): nothing moves there, or everything is smaller than "
            f"pre_process.boxes.min_area ({config.boxes.min_area:g} pixels); lower it, or begin "
            "the videos where something happens"
        )
    return Survey(entries, fps, counts / frames, seconds / frames, workers)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as each of several processes will."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
