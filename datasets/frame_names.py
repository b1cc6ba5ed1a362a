"""Names of the images of a video: the only order that a folder has.

What makes the order doubtful (two images of one frame, a mask or a copy among the frames) is
refused; missing numbers can be asked for, as labels may count them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from datasets.manifest import natural_key
from utils.errors import UserError

_NUMBER = re.compile(r"(.*?)(\d+(?:[.,]\d+)?)(\D*)", re.DOTALL)
# What tools put behind a name: no frame is called so while others are not.
_MARK = re.compile(
    r"([\s_.-]+(gt|ground_?truth|masks?|labels?|seg|depth|flow|copy|kopie|copie|thumb(nail)?|bak)"
    r"|\s*\(\d+\)|~)$"
)


@dataclass(frozen=True)
class Numbering:
    """The numbers of a video's images: first, last, how many are missing and the first missing."""

    first: int
    last: int
    num_missing: int
    missing: int


def in_order(images: Sequence[Path]) -> list[Path]:
    """Images by their numbers or times; upper and lower case are alike."""
    times = _times(images)
    if times:
        return sorted(images, key=times.__getitem__)
    return sorted(images, key=lambda path: natural_key(path.name.casefold()))


def require_frame_names(folder: Path, images: Sequence[Path]) -> None:
    """Refuse images that are not one frame each of one video.

    Raises:
        UserError: two images of one frame, or masks, copies or thumbnails among the frames.
    """
    if not _times(images):
        _refuse_doubled(folder, images)
    _refuse_strays(folder, images)


def numbering(images: Sequence[Path]) -> Numbering | None:
    """The numbers in the names of a video's images; ``None`` where they are not one count."""
    parts = [re.split(r"(\d+)", path.stem.casefold()) for path in images]
    if not parts or _times(images) or len({tuple(each[::2]) for each in parts}) > 1:
        return None
    table = np.array([[int(digits) for digits in each[1::2]] for each in parts], object)
    varying = [column for column in table.T if len(set(column)) > 1]
    if len(varying) != 1:
        return None
    numbers = sorted(varying[0])
    gaps = [low + 1 for low, high in itertools.pairwise(numbers) if high - low > 1]
    num_missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    return Numbering(numbers[0], numbers[-1], num_missing, gaps[0] if gaps else -1)


def _times(images: Sequence[Path]) -> dict[Path, Decimal]:
    """Times in seconds where the names are times (0.08, 0.1, 1); empty where they are counts.

    The names must differ in one number only. With ``1.1`` beside ``1.10`` the part behind the
    point is a count of its own: as times they would be equal.
    """
    matches = {path: _NUMBER.fullmatch(path.stem.casefold()) for path in images}
    texts = {(each[1], each[3]) if each else None for each in matches.values()}
    if len(texts) != 1 or None in texts:
        return {}
    times = {path: Decimal(each[2].replace(",", ".")) for path, each in matches.items() if each}
    has_fraction = any(value != int(value) for value in times.values())
    seconds = set(map(int, times.values()))
    is_one_count = len(seconds) == 1 and seconds != {0}  # clip4.8, clip4.9, clip4.10
    is_unique = len(set(times.values())) == len(times)
    return times if has_fraction and is_unique and not is_one_count else {}


def _refuse_doubled(folder: Path, images: Sequence[Path]) -> None:
    first: dict[tuple, Path] = {}
    for path in images:
        same = first.setdefault(natural_key(path.stem.casefold())[0], path)
        if same is not path:
            raise UserError(
                f"{folder}: {same.name} and {path.name} are both named for one frame; keep one of "
                "them, or one folder for each kind"
            )


def _refuse_strays(folder: Path, images: Sequence[Path]) -> None:
    """Masks, copies and thumbnails: named as another image with something before or behind it."""
    stems = {path.stem.casefold() for path in images if re.search(r"\d", path.stem)}
    marked = {path for path in images if _MARK.search(path.stem.casefold())}
    few_are_marked = 2 * len(marked) < len(images)
    strays = [
        path
        for path in images
        if (path in marked and few_are_marked) or _extends_another(path.stem.casefold(), stems)
    ]
    if strays:
        names = ", ".join(path.name for path in strays[:3]) + ", ..." * (len(strays) > 3)
        raise UserError(
            f"{folder}: {len(strays)} of {len(images)} images do not look like frames of the video "
            f"({names}): masks, copies or thumbnails? Move them to another folder"
        )


def _extends_another(stem: str, stems: set[str]) -> bool:
    """Whether it is another image's name with more than digits before or behind it."""
    cuts = range(1, len(stem))
    behind = (stem[cut:] for cut in cuts if stem[:cut] in stems and not stem[cut].isdigit())
    before = (stem[:cut] for cut in cuts if stem[cut:] in stems and not stem[cut - 1].isdigit())
    return any(re.search(r"[^\W\d_]|\(", rest) for rest in (*behind, *before))
