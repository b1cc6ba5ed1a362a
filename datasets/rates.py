"""How many frames a second a video has."""

from __future__ import annotations

from datasets.manifest import VideoEntry
from datasets.video_files import read_header

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


def plausible_rate(fps: float, default: float) -> float:
    """``fps`` as a source tells it; ``default`` where it tells nothing or nonsense."""
    return fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else default
