"""What every label format is read into, before it is fitted to the videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError

logger = logging.getLogger(__name__)
MOST_FRAMES = 2**36  # of any video; larger numbers are damage


@dataclass(frozen=True)
class Intervals:
    """Anomalous stretches of one video: (n, 2) integers, 0-based start and exclusive stop."""

    spans: np.ndarray


@dataclass(frozen=True)
class RawLabels:
    """Labels as a file has them.

    Attributes:
        keys: what the file calls the videos; None where it only lists them in order.
        values: per video an array with one value a frame, or ``Intervals``.
        is_partial: a video that is not mentioned is normal (lists of intervals by name).
    """

    keys: Sequence[str | int] | None
    values: Sequence[np.ndarray | Intervals]
    is_partial: bool = False


def matlab_intervals(cells: Sequence[np.ndarray], path: Path) -> list[Intervals]:
    """Intervals of each video from MATLAB cells, frames counted from 1 and the last one included.

    A cell is [start; end] columns (2 x n, as published) or rows (n x 2); all of a file are alike,
    so one cell that can be only one of them decides. Where all are empty or 2 x 2, the intervals
    must come one after the other.

    Raises:
        UserError: other shapes, broken numbers, both layouts in one file, or no telling which.
    """
    tables = [_whole(cell, path) for cell in cells]
    filled = [table for table in tables if table.size]
    if any(table.ndim != 2 or 2 not in table.shape for table in filled):
        raise UserError(f"{path}: 'gt' must hold [start; end] columns, or rows, for each video")
    if _are_rows(filled, path):
        logger.info("%s: read as rows of start, end", path)
    else:
        tables = [table.T if table.size else table for table in tables]
    return [Intervals(table.reshape(-1, 2) - [1, 0]) for table in tables]


def _are_rows(tables: Sequence[np.ndarray], path: Path) -> bool:
    columns = any(table.shape[0] == 2 != table.shape[1] for table in tables)
    rows = any(table.shape[1] == 2 != table.shape[0] for table in tables)
    if columns and rows:
        raise UserError(
            f"{path}: some videos have 2 x n intervals and some n x 2; write all as columns"
        )
    if columns or rows or not tables:
        return rows
    for fits in (_follow_each_other, _are_intervals):
        as_columns, as_rows = all(fits(t.T) for t in tables), all(fits(t) for t in tables)
        if as_columns != as_rows:
            return as_rows
    raise UserError(
        f"{path}: its 2 x 2 intervals can be read as columns and as rows; write the intervals of "
        "a video one after the other in time, as [start start; end end]"
    )


def row_intervals(pairs: Any, where: str) -> Intervals:
    """[start, stop] rows, 0-based, stop exclusive.

    Raises:
        UserError: broken numbers, or two columns that look like the two rows.
    """
    spans = _whole(np.asarray(pairs), where)
    is_square = spans.shape == (2, 2)
    if is_square and not _follow_each_other(spans) and _follow_each_other(spans.T):
        raise UserError(
            f"{where}: [[{spans[0, 0]}, {spans[0, 1]}], [{spans[1, 0]}, {spans[1, 1]}]] looks like "
            "starts and stops; write [start, stop] pairs"
        )
    return Intervals(spans)


def _whole(values: Any, where: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values)
        with np.errstate(invalid="ignore"):
            whole = numbers.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: intervals must be numbers of frames") from None
    if not np.array_equal(whole, numbers):
        raise UserError(f"{where}: intervals must be whole numbers of frames (seconds times fps)")
    return whole


def _are_intervals(rows: np.ndarray) -> bool:
    return bool((rows[:, 0] <= rows[:, 1]).all())


def _follow_each_other(rows: np.ndarray) -> bool:
    return _are_intervals(rows) and bool((rows[1:, 0] > rows[:-1, 1]).all())
