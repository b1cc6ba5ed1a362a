"""Frame labels of UCF-Crime from its official temporal annotation text.

A line reads ``Abuse028_x264  Abuse  165  240  -1  -1``: video, class, then up to two pairs of first
and last frame (-1: none). As evaluation code for these features does it, a pair marks frames start
to end, 0-based, end exclusive, clipped to the video's length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.features.dataset import canonical_name
from utils.errors import UserError


def read_annotations(path: str | Path) -> dict[str, list[tuple[int, int]]]:
    """Read the text: video name (without ``_x264``) -> its anomalous (start, end) frames.

    Raises:
        UserError: missing file, or a line of another form.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such annotation file; correct the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    intervals = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, found = _parse_line(line, f"{path}, line {number}")
            if name in intervals:
                raise UserError(f"{path}, line {number}: video {name} was there before")
            intervals[name] = found
    if not intervals:
        raise UserError(f"{path}: holds no annotations")
    return intervals


def _parse_line(line: str, where: str) -> tuple[str, list[tuple[int, int]]]:
    name, *rest = line.split()
    try:
        numbers = [int(text) for text in rest[1:]]
    except ValueError:
        numbers = []
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    wrong = [pair for pair in pairs if -1 not in pair and not 0 <= pair[0] <= pair[1]]
    if not numbers or len(numbers) % 2 or wrong:
        raise UserError(
            f"{where}: {line.strip()!r} is not 'VIDEO CLASS START END START END' (-1 -1: none)"
        )
    return canonical_name(name), [pair for pair in pairs if -1 not in pair]


def frame_labels(intervals: list[tuple[int, int]], num_frames: int) -> np.ndarray:
    """Mark the frames of ``intervals``: uint8 (num_frames,), 1 = anomalous."""
    labels = np.zeros(num_frames, np.uint8)
    for start, end in intervals:
        labels[start:end] = 1
    return labels
