"""What is kept of test cubes once they are scored, and the labels that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.scores import Errors
from utils.errors import UserError

Videos = list[np.ndarray]  # one (T,) array a video


@dataclass(frozen=True)
class ScoredCubes:
    """The cubes of some videos without their pixels: where each is and how wrong the model was.

    Attributes:
        videos: names; num_frames: their lengths.
        video_index: (n,) int, index into ``videos``; frames: (n,) int, frame in the video.
        boxes: (n,4) float, x1,y1,x2,y2 in pixels; ``None`` where a score is a whole frame's.
        errors: named errors, each (n,) float64.
    """

    videos: Sequence[str]
    num_frames: Sequence[int]
    video_index: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray | None
    errors: Errors


def match_labels(cubes: ScoredCubes, labels: Mapping[str, np.ndarray]) -> Videos:
    """Labels in the order of the videos, checked.

    Raises:
        UserError: a video without labels, or with labels of another length or other values.
    """
    matched = []
    for name, length in zip(cubes.videos, cubes.num_frames, strict=True):
        if name not in labels:
            raise UserError(f"labels.npz: no labels of test video {name!r}; add them")
        values = np.asarray(labels[name])
        if values.shape != (length,):
            raise UserError(
                f"labels.npz: video {name!r} has {len(np.atleast_1d(values))} labels and "
                f"{length} frames; prepare the labels again"
            )
        if not np.isin(values, (0, 1)).all():
            raise UserError(f"labels.npz: video {name!r}: labels must be 0 (normal) or 1")
        matched.append(values)
    return matched


def frame_numbers(num_frames: Sequence[int], video: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Number (n,) frames over all videos: the frames before its video plus its own number."""
    starts = np.concatenate([[0], np.cumsum(num_frames)[:-1]]).astype(np.int64)
    return starts[video] + frame
