"""Frame labels of the test videos: ``labels.npz``, and reading them from circulating formats."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.labels.formats import read_raw
from datasets.labels.masks import mask_names, read_masks
from datasets.labels.matching import match_names
from datasets.labels.origin import write_source
from datasets.labels.raw import Intervals, RawLabels
from datasets.labels.regions import Region, mask_regions
from datasets.manifest import natural_key
from datasets.names import is_order_open
from utils.errors import UserError
from utils.files import atomic_path

logger = logging.getLogger(__name__)
FILE_NAME = "labels.npz"
ORDER_REMEDY = (
    "give the list that the file follows (--test_list, data.testing_list), or labels by name: an "
    ".npz of one array a video, or the data set's annotation text"
)


def save_labels(
    root: str | Path, labels: dict[str, np.ndarray], source: str | Path | None = None
) -> None:
    """Write ``labels.npz``: video name -> (num_frames,) uint8, 1 is anomalous; atomically.

    ``source``, the file or folder that they were read from, is noted in it.
    """
    arrays: dict[str, Any] = {name: np.asarray(values, np.uint8) for name, values in labels.items()}
    with atomic_path(Path(root) / FILE_NAME) as temporary:
        np.savez_compressed(temporary, **arrays)
        if source is not None:
            write_source(temporary, source)


def load_labels(root: str | Path) -> dict[str, np.ndarray]:
    """Read ``labels.npz`` from a data set's folder: video name -> (num_frames,) uint8 of 0 and 1.

    Raises:
        UserError: no labels there, or a damaged file.
    """
    path = Path(root) / FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{path}: no labels; run pre_process/prepare_dataset.py with --labels FILE, "
            "or score the videos without evaluating them (infer.py)"
        )
    raw = read_raw(path)
    named = zip(raw.keys or (), raw.values, strict=True)
    return {
        str(name): _per_frame(value, len(value), path, str(name))
        for name, value in named
        if isinstance(value, np.ndarray)
    }


def read_labels(path: str | Path, num_frames: dict[str, int]) -> dict[str, np.ndarray]:
    """Read frame labels in any circulating format.

    Known: ``gt_label.json`` (a pickle or JSON), ``ped2.mat`` / ``avenue.mat`` (``gt`` intervals or
    a variable a video), Avenue's ``testing_label_mask``, ShanghaiTech's ``test_frame_mask`` and
    ``test_pixel_mask``, UCSD's ``*_gt`` masks and ``UCSDped2.m``, ``.npz``, CSV of intervals
    (``video,start,stop``), text or ``.npy`` per video or of all frames in a row.

    Args:
        path: file or folder.
        num_frames: test video -> its number of frames, which the labels must fit.

    Returns:
        video -> (num_frames,) uint8 of 0 and 1, for every video in ``num_frames``.

    Raises:
        UserError: unknown or damaged file, another number of videos, unknown video names, or
            another number of frames in a video (named, with both numbers).
    """
    return fit_labels(read_raw(Path(path)), num_frames, Path(path))


def fit_labels(
    raw: RawLabels,
    num_frames: dict[str, int],
    path: Path,
    order: Sequence[str] | None = None,
    slack: int = 0,
) -> dict[str, np.ndarray]:
    """Fit labels to the videos.

    Args:
        raw: from ``read_raw``.
        num_frames: video -> its number of frames.
        path: the labels', for messages.
        order: the videos as a file has them that does not name them; ``None``: in natural order.
        slack: so many frames a video's labels may miss its length; intervals are cut there.

    Returns, raises: as ``read_labels`` (video -> (num_frames,) uint8).
    """
    names = list(order or sorted(num_frames, key=natural_key))
    if order is None and _is_unnamed(raw) and len(names) > 1 and is_order_open(names):
        raise UserError(
            f"{path}: does not name its videos, and lists of such videos circulate in another "
            f"order than by name ({names[0]}, {names[1]}, ...); {ORDER_REMEDY}"
        )
    if raw.keys is None and len(raw.values) == 1 and len(names) > 1:
        raw = _split_row(raw.values[0], names, num_frames, path)
    matched = _match(raw, names, path)
    return {
        name: _per_frame(value, num_frames[name], path, name, slack)
        for name, value in matched.items()
    }


def read_mask_regions(folder: str | Path, num_frames: dict[str, int]) -> list[Region] | None:
    """Tracked regions of the test videos from pixel masks (see ``read_masks`` for the layouts).

    Args:
        folder: the masks' folder.
        num_frames: test video -> its number of frames.

    Returns:
        The regions; None where the masks do not cover exactly these videos.

    Raises:
        UserError: another number of masks than frames in a video (named).
    """
    folder = Path(folder)
    matched = match_names(mask_names(folder), list(num_frames)) if folder.is_dir() else None
    if not matched or len(matched) != len(num_frames):
        return None
    regions: list[Region] = []
    for name, masks in read_masks(folder):
        video = matched[name]
        if len(masks) != num_frames[video]:
            raise UserError(
                f"{folder}: video {video}: {len(masks)} masks, but the video has "
                f"{num_frames[video]} frames; use the masks that belong to these videos"
            )
        regions += mask_regions(video, masks)
    return regions


def _match(raw: RawLabels, names: list[str], path: Path) -> dict[str, np.ndarray | Intervals]:
    if _is_unnamed(raw):
        _require_all(raw, names, path)
    if raw.keys is None:
        return dict(zip(names, raw.values, strict=True))
    matched = match_names(raw.keys, names, names)
    if matched is None:
        raise UserError(
            f"{path}: its video names ({', '.join(map(str, raw.keys[:3]))}, ...) are not those of "
            f"the data set ({', '.join(names[:3])}, ...); rename one or the other"
        )
    _require_all(raw, names, path)
    values = {matched[key]: value for key, value in zip(raw.keys, raw.values, strict=True)}
    normal = Intervals(np.empty((0, 2), np.int64))
    return {name: values.get(name, normal) for name in names}


def _is_unnamed(raw: RawLabels) -> bool:
    return raw.keys is None or all(str(key).isdecimal() for key in raw.keys)


def _require_all(raw: RawLabels, names: list[str], path: Path) -> None:
    if not raw.is_partial and len(raw.values) != len(names):
        raise UserError(
            f"{path}: labels of {len(raw.values)} videos, but the data set has {len(names)} test "
            f"videos ({', '.join(names[:3])}, ...); use the labels of this data set"
        )


def _split_row(
    row: np.ndarray | Intervals, names: list[str], num_frames: dict[str, int], path: Path
) -> RawLabels:
    """Labels of all frames in a row, videos in the order of ``names``."""
    total = sum(num_frames.values())
    size = row.size if isinstance(row, np.ndarray) else len(row.spans)
    if isinstance(row, Intervals) or size != total:
        raise UserError(
            f"{path}: {size} labels in a row, but the {len(names)} test videos have {total} frames"
        )
    ends = np.cumsum([num_frames[name] for name in names])
    return RawLabels(list(names), np.split(row.reshape(-1), ends[:-1]))


def _per_frame(
    value: np.ndarray | Intervals, num_frames: int, path: Path, name: str, slack: int = 0
) -> np.ndarray:
    if isinstance(value, Intervals):
        return _fill(value.spans, num_frames, path, name, slack)
    values = value.reshape(-1)
    if abs(len(values) - num_frames) > slack:
        about = "its features cover" if slack else "the video has"
        raise UserError(
            f"{path}: video {name}: {len(values)} labels, but {about} {num_frames} frames; "
            "use the labels that belong to these videos"
            + (", or correct data.frames_per_snippet" if slack else "")
        )
    if not np.isin(values, (0, 1)).all():
        raise UserError(f"{path}: video {name}: labels must be 0 (normal) or 1 (anomalous)")
    return values.astype(np.uint8)


def _fill(spans: np.ndarray, num_frames: int, path: Path, name: str, slack: int) -> np.ndarray:
    labels = np.zeros(num_frames, np.uint8)
    for start, stop in spans.tolist():
        if not 0 <= start < stop <= num_frames + slack:
            raise UserError(
                f"{path}: video {name}: interval {start}..{stop} (0-based, stop exclusive) does "
                f"not fit in its {num_frames} frames; use the labels that belong to these videos"
                + (", or correct data.frames_per_snippet" if slack else "")
            )
        if stop > num_frames:
            logger.warning("%s: video %s: interval %d..%d is cut at its features' end, frame %d",
                           path, name, start, stop, num_frames)  # fmt: skip
        labels[start:stop] = 1
    return labels
