"""Boxes from elsewhere: refused where they are not corners in pixels, with what they look like."""

from __future__ import annotations

import numpy as np

from utils.errors import UserError

_OVERHANG = 2.0  # pixels that a box may stand over the picture's edge; it is clamped later
_NEEDED = "x1, y1, x2, y2 in pixels are needed"


def require_corners(
    rows: np.ndarray, sizes: np.ndarray, frames: np.ndarray, where: str
) -> np.ndarray:
    """Admit boxes that are corners in pixels inside their pictures.

    Args:
        rows: (n, 4 or more) all boxes of a file; further columns are scores, classes or the like.
        sizes: (n,2) width and height of each box's picture.
        frames: (n,) the frame of each box, for messages.
        where: the file, for messages.

    Returns:
        (n,4) float32, the boxes as they were.

    Raises:
        UserError: not finite, normalised, with a score or class first, width and height in the
            place of x2 and y2, or outside the picture.
    """
    boxes = rows[:, :4].astype(np.float64)
    _refuse_rows(
        np.asarray((~np.isfinite(boxes)).any(axis=1)),
        boxes,
        frames,
        f"{where}: a box is not finite",
    )
    for first in (0, 1):
        if _are_normalised(rows[:, first : first + 4]):
            raise UserError(
                f"{where}: all boxes lie between 0 and 1: they look normalised; {_NEEDED}: "
                "multiply x by the picture's width and y by its height"
            )
    first = _column_of_corners(rows, sizes)
    if first:
        raise UserError(
            f"{where}: {first} column(s) before x1, such as a score or a class; {_NEEDED} in the "
            "first four columns: move the others behind them"
        )
    _require_order(boxes, sizes, frames, where)
    _require_inside(boxes, sizes, frames, where)
    return boxes.astype(np.float32)


def _are_normalised(values: np.ndarray) -> bool:
    """Whether four columns are parts of the picture's sides; zeros alone tell nothing."""
    is_fraction = (values > 0) & (values < 1)
    complete = values.shape[1] == 4 and len(values) > 0
    return complete and bool(is_fraction.any()) and bool((np.abs(values) <= 1.05).all())


def _column_of_corners(rows: np.ndarray, sizes: np.ndarray) -> int:
    """Which column x1 stands in; 0 where nothing speaks for a later one."""
    lead = rows[:, 0]
    if len(rows) > 2 and ((lead > 0) & (lead < 1)).all():  # no x1 is below 1 everywhere
        return 1
    for first in range(1, rows.shape[1] - 3):
        leading = rows[:, :first]
        are_scores_or_classes = ((leading <= 1) | (leading == np.rint(leading))).all()
        corners = rows[:, first : first + 4]
        if len(rows) and are_scores_or_classes and _are_proper(corners, sizes).all():
            return first
    return 0


def _are_proper(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(n,) whether each box has an area and lies in its picture."""
    has_area = (boxes[:, 2:4] > boxes[:, :2]).all(axis=1)
    return has_area & ~_is_outside(boxes, sizes)


def _is_outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    ends = boxes.reshape(-1, 2, 2)  # both corners, x and y
    outside = (ends < -_OVERHANG) | (ends > sizes[:, None] + _OVERHANG)
    return np.asarray(outside.any(axis=(1, 2)))


def _require_order(boxes: np.ndarray, sizes: np.ndarray, frames: np.ndarray, where: str) -> None:
    is_transposed = np.asarray((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    with_sides = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    looks = "x2 < x1 or y2 < y1"
    if not _is_outside(with_sides, sizes).any() and (boxes[:, 2:] >= 0).all():
        looks += ": they look like x, y, width, height"
    _refuse_rows(is_transposed, boxes, frames, f"{where}: {looks}; {_NEEDED} (x2 is x + width)")


def _require_inside(boxes: np.ndarray, sizes: np.ndarray, frames: np.ndarray, where: str) -> None:
    outside = _is_outside(boxes, sizes)
    if not outside.any():
        return
    width, height = sizes[int(np.argmax(outside))].tolist()
    furthest = boxes[:, 2].max(), boxes[:, 3].max()
    looks = f"outside the picture of {width:g}x{height:g}"
    if not _is_outside(boxes[:, [1, 0, 3, 2]], sizes).any():
        looks += ": they look like y1, x1, y2, x2; exchange the columns"
    else:
        looks += (
            f", up to x2 {furthest[0]:g} and y2 {furthest[1]:g}: made for videos of another size? "
            "Scale them to this one; clip boxes that only stand over the edge"
        )
    _refuse_rows(outside, boxes, frames, f"{where}: {looks}")


def _refuse_rows(is_bad: np.ndarray, boxes: np.ndarray, frames: np.ndarray, fault: str) -> None:
    """Refuse a file by its first bad box."""
    if is_bad.any():
        row = int(np.argmax(is_bad))
        box = ", ".join(f"{value:g}" for value in boxes[row])
        raise UserError(
            f"{fault}; {int(is_bad.sum())} of {len(boxes)} boxes, the first in frame "
            f"{int(frames[row])} ({box})"
        )
