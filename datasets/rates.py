"""How many frames a second a video has."""

from __future__ import annotations

import numpy as np

from datasets.manifest import VideoEntry
from datasets.video_files import packet_times, read_header

_PLAUSIBLE_FPS = (0.5, 1000.0)
_CONSTANT = 0.02  # how far the average may be from the declared rate


def frame_rate(entry: VideoEntry, default: float) -> float:
    """Frames per second of a video file; ``default`` for folders of images or nonsense.

    Where frames follow at varying intervals it is their average.
    """
    if entry.kind == "frames":
        return default
    header = read_header(entry.source)
    average = entry.num_frames / header.seconds if header.seconds else header.fps
    is_constant = abs(average - header.fps) <= _CONSTANT * header.fps
    return plausible_rate(header.fps if is_constant else average, default)


def frame_times(entry: VideoEntry) -> np.ndarray | None:
    """When each frame of a video begins, in seconds, without decoding it.

    Returns:
        (T,); ``None`` for images, and where a container has no times or other packets than frames.
    """
    if entry.kind == "frames":
        return None
    times = packet_times(entry.source)[entry.start : entry.stop]
    is_known = len(times) == entry.num_frames and not np.isnan(times).any()
    return times if is_known else None


def plausible_rate(fps: float, default: float) -> float:
    """``fps`` as a source tells it; ``default`` where it tells nothing or nonsense."""
    return fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else default
