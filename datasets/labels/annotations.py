"""The annotation texts of UCF-Crime and XD-Violence.

UCF-Crime: ``Abuse028_x264  Abuse  165  240  -1  -1`` (video, class, then pairs of first and last
frame; -1: none), every video listed. XD-Violence: ``v=38GQ9L2meyE__#1_label_B6-0-0 26 80 210 288``
(video, then pairs), normal videos left out. As evaluation code for these sets does it, a pair marks
frames start to end, 0-based, end exclusive.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.labels.raw import MOST_FRAMES, Intervals, RawLabels
from datasets.names import canonical_name, read_text
from utils.errors import UserError

NORMAL_OF_XD = "_label_A"  # at the end of a normal video's name


def read_annotations(path: str | Path) -> RawLabels:
    """Read the text: canonical video name -> its anomalous intervals.

    Partial where no line has a class: XD-Violence's text, which leaves normal videos out.

    Raises:
        UserError: missing file, or a line of another form.
    """
    path = Path(path)
    intervals_of: dict[str, Intervals] = {}
    has_class = False
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            name, intervals, classed = _parse_line(line, f"{path}, line {number}")
            if name in intervals_of:
                raise UserError(f"{path}, line {number}: video {name} was there before")
            intervals_of[name] = intervals
            has_class = has_class or classed
    if not intervals_of:
        raise UserError(f"{path}: holds no annotations")
    return RawLabels(list(intervals_of), list(intervals_of.values()), is_partial=not has_class)


def _parse_line(line: str, where: str) -> tuple[str, Intervals, bool]:
    name, *rest = line.split()
    classed = bool(rest) and not rest[0].lstrip("-").isdecimal()
    try:
        numbers = [int(text) for text in (rest[1:] if classed else rest)]
    except ValueError:
        numbers = []
    if any(abs(number) > MOST_FRAMES for number in numbers):
        raise UserError(f"{where}: no video has so many frames; correct the number")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    marked = [pair for pair in pairs if -1 not in pair]
    if not numbers or len(numbers) % 2 or any(not 0 <= start <= end for start, end in marked):
        raise UserError(
            f"{where}: {line.strip()!r} is not 'VIDEO CLASS START END START END' (-1 -1: none), "
            "nor 'VIDEO START END START END'"
        )
    spans = [pair for pair in marked if pair[0] < pair[1]]  # the end is exclusive
    return canonical_name(name), Intervals(np.array(spans, np.int64).reshape(-1, 2)), classed
