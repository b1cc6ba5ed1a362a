"""The Avenue19 cut: stretches with anomalies are left out of Avenue's training videos."""

from __future__ import annotations

import re
from dataclasses import replace

from datasets.manifest import VideoEntry
from utils.errors import UserError

# Video number -> frames to leave out, counted from 1, both ends included.
EXCLUDED = {2: ((311, 521), (771, 831)), 4: ((1460, 1510),), 7: ((741, 900),)}
_SHORTEST = 5  # frames; a rest shorter than one cube is no video


def cut_avenue19(entries: list[VideoEntry]) -> list[VideoEntry]:
    """Cut the training videos of Avenue; what is left of a cut video is named 02_1, 02_2, ...

    Raises:
        UserError: the training videos 02, 04 and 07 are not all there, or too short.
    """
    numbers = {_number(entry): entry for entry in entries if entry.split == "training"}
    for number, stretches in EXCLUDED.items():
        entry = numbers.get(number)
        if entry is None or entry.num_frames < stretches[-1][0]:
            state = "is missing" if entry is None else f"has only {entry.num_frames} frames"
            raise UserError(
                f"Avenue19: training video {number:02d} {state}; the cut is for the 16 official "
                "training videos of Avenue. Prepare it as --name avenue"
            )
    return [part for entry in entries for part in _cut(entry)]


def _number(entry: VideoEntry) -> int:
    digits = re.findall(r"\d+", entry.name)
    return int(digits[-1]) if digits else 0  # of no video


def _cut(entry: VideoEntry) -> list[VideoEntry]:
    stretches = EXCLUDED.get(_number(entry), ()) if entry.split == "training" else ()
    if not stretches:
        return [entry]
    starts = [0, *(last for _, last in stretches)]
    stops = [*(first - 1 for first, _ in stretches), entry.num_frames]
    spans = [(a, b) for a, b in zip(starts, stops, strict=True) if b - a >= _SHORTEST]
    return [
        replace(entry, name=f"{entry.name}_{index}", start=start, stop=stop)
        for index, (start, stop) in enumerate(spans, 1)
    ]
