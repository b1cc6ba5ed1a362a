"""Anomalous regions, tracked over frames: ``regions.csv`` and pixel masks."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from io import StringIO
from pathlib import Path

import cv2
import numpy as np

from datasets.labels.raw import MOST_FRAMES
from utils.errors import UserError
from utils.files import write_text


@dataclass(frozen=True)
class Region:
    """One anomalous region in one frame; regions of one track are one event.

    The box is in pixels, x2 and y2 exclusive; frames count from 0.
    """

    video: str
    frame: int
    track: int
    x1: float
    y1: float
    x2: float
    y2: float


HEADER = tuple(field.name for field in fields(Region))


def write_regions(path: Path, regions: Iterable[Region]) -> None:
    """Write ``regions.csv`` (video,frame,track,x1,y1,x2,y2), atomically."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(astuple(region) for region in regions)
    write_text(path, text.getvalue())


def read_regions(path: str | Path) -> list[Region]:
    """Read ``regions.csv``.

    Raises:
        UserError: missing file, other columns, or a line that is not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; region labels are optional and not here")
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.reader(handle))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a text file ({error}); write it again") from None
    if not rows or tuple(rows[0]) != HEADER:
        raise UserError(f"{path}: the first line must be {','.join(HEADER)}")
    return [_parse(row, path, line) for line, row in enumerate(rows[1:], 2)]


def _parse(row: list[str], path: Path, line: int) -> Region:
    try:
        video, frame, track, *box = row
        region = Region(video, int(frame), int(track), *map(float, box))
    except (ValueError, TypeError):
        raise UserError(f"{path}: line {line}: must hold {','.join(HEADER)}, not {row}") from None
    if max(region.frame, abs(region.track)) > MOST_FRAMES:
        raise UserError(f"{path}: line {line}: no video has so many frames or tracks")
    if not (region.x1 < region.x2 and region.y1 < region.y2 and region.frame >= 0):
        raise UserError(f"{path}: line {line}: the box is empty or the frame negative: {row}")
    return region


def mask_regions(video: str, masks: Iterable[np.ndarray], min_overlap: float = 0.1) -> list[Region]:
    """Turn pixel masks into tracked regions.

    A region is the bounding box of a connected area; it carries on the track of the previous
    frame's region that it overlaps most (intersection over union of at least ``min_overlap``).

    Args:
        video: the video's name.
        masks: (H, W) arrays, one a frame; anything not zero is anomalous.
        min_overlap: least overlap from frame to frame within a track.
    """
    regions: list[Region] = []
    previous: list[Region] = []
    num_tracks = 0
    for frame, mask in enumerate(masks):
        current: list[Region] = []
        free = list(previous)
        for box in _components(mask):
            overlaps = [_overlap(box, region) for region in free]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best >= 0 and overlaps[best] >= min_overlap:
                track = free.pop(best).track
            else:
                track, num_tracks = num_tracks, num_tracks + 1
            current.append(Region(video, frame, track, *box))
        regions += current
        previous = current
    return regions


def _components(mask: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Bounding boxes of the 8-connected areas of a mask, largest first."""
    binary = (np.asarray(mask) != 0).astype(np.uint8)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    boxes = statistics[1:]
    boxes = boxes[np.argsort(-boxes[:, cv2.CC_STAT_AREA], kind="stable")]
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in boxes]


def _overlap(box: tuple[float, float, float, float], region: Region) -> float:
    width = min(box[2], region.x2) - max(box[0], region.x1)
    height = min(box[3], region.y2) - max(box[1], region.y1)
    if width <= 0 or height <= 0:
        return 0.0
    area = (box[2] - box[0]) * (box[3] - box[1])
    other = (region.x2 - region.x1) * (region.y2 - region.y1)
    return width * height / (area + other - width * height)
