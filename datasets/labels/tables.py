"""Labels in CSV files with a header."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.labels.raw import MOST_FRAMES, Intervals, RawLabels
from datasets.names import read_text
from utils.errors import UserError

logger = logging.getLogger(__name__)
HEADERS = ("video,start,stop", "video,first,last", "video,frame,label")
Row = tuple[int, str, int, int]  # line, video, two numbers


def read_table(path: Path) -> RawLabels | None:
    """Labels by the header of a CSV file; ``None`` where the first line is none that is known.

    ``video,start,stop``: intervals, 0-based, stop exclusive. ``video,first,last``: intervals,
    counted from 1, last included. ``video,frame,label``: either all frames of each video, counted
    from 0 or from 1, or the abnormal frames alone, counted from 0.

    Raises:
        UserError: a line of another form, a label other than 0 and 1, or frames left out.
    """
    rows = list(csv.reader(read_text(path).splitlines()))
    header = ",".join(cell.strip().lower() for cell in rows[0]) if rows else ""
    if header not in HEADERS:
        return None
    parsed = list(_parse(rows[1:], header, path))
    if header == "video,frame,label":
        return _frames(parsed, path)
    shift = 1 if header == "video,first,last" else 0
    spans: dict[str, list[tuple[int, int]]] = {}
    for line, video, start, stop in parsed:
        if stop <= start - shift:
            raise UserError(
                f"{path}: line {line}: the interval {start} to {stop} is empty; a stop is "
                "exclusive, and 'video,first,last' counts from 1 with the last frame included"
            )
        spans.setdefault(video, []).append((start - shift, stop))
    return RawLabels(list(spans), [_intervals(each) for each in spans.values()], is_partial=True)


def _parse(rows: list[list[str]], header: str, path: Path) -> Iterator[Row]:
    for line, row in enumerate(rows, 2):
        if row:
            try:
                video, first, second = row[0].strip(), int(row[1]), int(row[2])
            except (ValueError, IndexError):
                raise UserError(f"{path}: line {line}: must hold {header}") from None
            if max(abs(first), abs(second)) > MOST_FRAMES:
                raise UserError(f"{path}: line {line}: no video has so many frames")
            yield line, video, first, second


def _frames(rows: list[Row], path: Path) -> RawLabels:
    labels: dict[str, dict[int, int]] = {}
    for line, video, frame, label in rows:
        if label not in (0, 1):
            raise UserError(
                f"{path}: line {line}: video {video}: labels must be 0 (normal) or 1 (anomalous)"
            )
        if labels.setdefault(video, {}).setdefault(frame, label) != label:
            raise UserError(f"{path}: line {line}: video {video}: frame {frame} has two labels")
    if any(0 in each.values() for each in labels.values()):
        return _all_frames(labels, path)
    if labels and not any(0 in each for each in labels.values()):
        logger.info("%s: frames are taken as counted from 0; list all frames to tell", path)
    spans = [_intervals([(frame, frame + 1) for frame in each]) for each in labels.values()]
    return RawLabels(list(labels), spans, is_partial=True)


def _all_frames(labels: dict[str, dict[int, int]], path: Path) -> RawLabels:
    first = 0 if any(0 in each for each in labels.values()) else 1
    values: list[np.ndarray | Intervals] = []
    for video, each in labels.items():
        missing = set(range(first, first + len(each))) - set(each)
        if missing:
            raise UserError(
                f"{path}: video {video}: frame {min(missing)} is missing (frames count from "
                f"{first} here); list every frame of each video, or the abnormal ones alone"
            )
        values.append(np.array([each[frame] for frame in sorted(each)]))
    if first:
        logger.info("%s: frames count from 1", path)
    return RawLabels(list(labels), values)


def _intervals(spans: list[tuple[int, int]]) -> Intervals:
    return Intervals(np.array(spans, np.int64).reshape(-1, 2))
