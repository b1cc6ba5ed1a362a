"""What a checkpoint keeps of the errors of normal video, cubes and frames together."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.scales import Surprise
from evaluation.scores import Errors, error_names, error_statistics, frame_scores
from evaluation.smoothing import Smoothing


def normal_statistics(errors: Errors, cubes: Any, smoothing: Smoothing) -> dict[str, Any]:
    """Statistics of the errors of normal cubes, surprises measured by what normal frames reach.

    Args:
        errors: each (n,), over all normal cubes.
        cubes: they, for ``videos``, ``num_frames``, ``video_index`` and ``frames``.
        smoothing: of the frame scores.

    Returns:
        As ``evaluation.scores.error_statistics``.
    """
    statistics = error_statistics(errors)
    for name in error_names(statistics):
        scale = Surprise.of(statistics[name], name, "normal video")
        frames = _smoothed(scale(errors[name]), cubes, smoothing)
        statistics[name]["surprise"] = scale.measured_by(frames).as_json()
    return statistics


def _smoothed(surprises: np.ndarray, cubes: Any, smoothing: Smoothing) -> np.ndarray:
    """Smoothed frame scores of all videos, one after the other: (t,) float64."""
    lengths = [cubes.num_frames[name] for name in cubes.videos]
    videos = frame_scores(surprises, cubes.video_index, cubes.frames, lengths, 0.0)
    return np.concatenate([smoothing(video) for video in videos])
