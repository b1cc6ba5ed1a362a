"""Normal video that is kept from everything fitted: for statistics and alarm thresholds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datasets.cubes.dataset import CubeSet
from utils.errors import UserError
from utils.files import digest

logger = logging.getLogger(__name__)
FEWEST_FRAMES = 50  # held out: a threshold of fewer would be the smoothing's doing
GAP_SECONDS = 10.0  # between both parts of a video, so that nobody walks from one into the other


class Stretch(NamedTuple):
    """Frames ``start`` to ``stop`` (exclusive) of video number ``video``."""

    video: int
    start: int
    stop: int


class CubePart:
    """The cubes of some stretches of a ``CubeSet``, as if each stretch were a video.

    Attributes: as of ``CubeSet``; ``frames`` count from the start of the stretch.
    """

    def __init__(self, cubes: CubeSet, stretches: Sequence[Stretch]) -> None:
        self._cubes = cubes
        self.settings, self.frame_size = cubes.settings, cubes.frame_size
        self.videos = [_name(cubes, stretch) for stretch in stretches]
        self.num_frames = {
            name: each.stop - each.start for name, each in zip(self.videos, stretches, strict=True)
        }
        rows = [_rows(cubes, stretch) for stretch in stretches]
        self._rows = np.concatenate([np.zeros(0, np.int64), *rows])
        self.video_index = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
        starts = np.array([stretch.start for stretch in stretches], np.int32)
        self.frames = cubes.frames[self._rows] - starts[self.video_index]
        self.boxes = cubes.boxes[self._rows]
        self.fingerprint = digest([cubes.fingerprint, [list(each) for each in stretches]])

    def __len__(self) -> int:
        return len(self._rows)

    def gather(
        self, indices: np.ndarray, frames: slice = slice(None), flows: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copy cubes; see ``CubeSet.gather``."""
        return self._cubes.gather(self._rows[np.asarray(indices, np.int64)], frames, flows)


def hold_out(
    cubes: CubeSet, share: float, fps: float
) -> tuple[CubeSet | CubePart, CubePart | None]:
    """Divide normal video into what is fitted on and what is held out.

    Whole videos are held out where there are enough, at even distances in their order; else the
    last part of each video, behind a gap of ``GAP_SECONDS`` (or a third of that part, if that is
    less) which belongs to neither.

    Args:
        cubes: of all normal videos.
        share: of the video to hold out, in [0, 0.5]; 0: nothing.
        fps: frames per second.

    Returns:
        Both parts. All cubes and ``None`` without a share, and, with a warning, where fewer than
        ``FEWEST_FRAMES`` frames would be held out.

    Raises:
        UserError: a part without a cube.
    """
    if not share:
        return cubes, None
    lengths = [cubes.num_frames[name] for name in cubes.videos]
    every = round(1 / share)
    if len(lengths) >= every:
        whole = [Stretch(video, 0, length) for video, length in enumerate(lengths)]
        held = [each for each in whole if each.video % every == every // 2]
        fitted = [each for each in whole if each not in held]
    else:
        fitted, held = _cut_each(lengths, share, fps)
    frames = sum(each.stop - each.start for each in held)
    if frames < FEWEST_FRAMES:
        logger.warning(
            "data.calibration_share=%g of %d frames of normal video would hold out %d frames, too "
            "few for a threshold (%d are needed): nothing is held out, statistics and threshold "
            "come from the training video itself, which flatters them; record more",
            share, sum(lengths), frames, FEWEST_FRAMES,
        )  # fmt: skip
        return cubes, None
    parts = CubePart(cubes, fitted), CubePart(cubes, held)
    for part, what in zip(parts, ("to train on", "to hold out"), strict=True):
        if not len(part):
            raise UserError(
                f"data.calibration_share={share:g}: leaves no cube {what}: there are "
                f"{sum(lengths)} frames of normal video with {len(cubes)} cubes; record more, or "
                "set data.calibration_share=0 (thresholds then come from the training video itself)"
            )
    return parts


def _cut_each(
    lengths: Sequence[int], share: float, fps: float
) -> tuple[list[Stretch], list[Stretch]]:
    fitted, held = [], []
    for video, length in enumerate(lengths):
        part = int(np.ceil(share * length))
        gap = min(round(GAP_SECONDS * fps), part // 3)
        fitted.append(Stretch(video, 0, length - part))
        held.append(Stretch(video, length - part + gap, length))
    return fitted, held


def _name(cubes: CubeSet, stretch: Stretch) -> str:
    name = cubes.videos[stretch.video]
    is_whole = (stretch.start, stretch.stop) == (0, cubes.num_frames[name])
    return name if is_whole else f"{name} frames {stretch.start}-{stretch.stop - 1}"


def _rows(cubes: CubeSet, stretch: Stretch) -> np.ndarray:
    inside = (cubes.frames >= stretch.start) & (cubes.frames < stretch.stop)
    return np.flatnonzero(inside & (cubes.video_index == stretch.video))
