"""Which name in a file of labels means which video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from datasets.manifest import natural_key
from datasets.names import canonical_without_crop


def match_names(
    keys: Sequence[str | int], names: Sequence[str], order: Sequence[str] | None = None
) -> dict[str | int, str] | None:
    """Find which key means which video; None when some key or video is left over.

    Keys and videos are the same when their names are, or all the numbers in their names
    (``1_label`` is ``01``, ``Test001_gt`` is ``Test001``); keys that are numbers stand for the
    videos in ``order``, by default their natural one.
    """
    spellings = (str, canonical_without_crop, lambda name: Path(name).stem, _numbers)
    for canonical in spellings:
        by_name = {canonical(name): name for name in names}
        canonical_keys = {key: canonical(str(key)) for key in keys}
        matched = {key: by_name[own] for key, own in canonical_keys.items() if own in by_name}
        if len(by_name) == len(names) and len(set(matched.values())) == len(keys):
            return matched
    if len(keys) == len(names) and all(re.fullmatch(r"\d+", str(key)) for key in keys):
        ordered = sorted(keys, key=lambda key: natural_key(str(key)))
        return dict(zip(ordered, order or sorted(names, key=natural_key), strict=True))
    return None


def _numbers(name: str) -> tuple[str, ...]:
    return tuple(digits.lstrip("0") for digits in re.findall(r"\d+", name))
