"""Frame labels of videos that are known by their snippet features only."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from datasets.features.dataset import FeatureSet
from datasets.features.files import Axes
from datasets.features.layouts import open_array
from datasets.labels.annotations import NORMAL_OF_XD
from datasets.labels.formats import read_raw
from datasets.labels.frame_labels import ORDER_REMEDY, fit_labels
from datasets.labels.origin import describe_labels
from datasets.labels.raw import Intervals, RawLabels
from datasets.names import canonical_name, find_videos, is_order_open, read_video_list
from utils.config.frd import FeatureDataConfig
from utils.errors import UserError

logger = logging.getLogger(__name__)
SEGMENTS = (32, 64, 100, 200)  # numbers to which circulating features cut every video


def open_split(
    data: FeatureDataConfig, split: str
) -> tuple[FeatureSet, dict[str, np.ndarray] | None]:
    """The features of a split and, of the test videos, their frame labels where there are any
    (video -> (num_frames,) uint8 of 0 and 1).

    Raises:
        UserError: features, ranges or labels that are missing, damaged, or do not belong together.
    """
    path, ranges, labels = data.features(split), getattr(data, f"{split}_ranges"), data.label_file
    if split == "testing" and path.is_file() and not ranges and labels:
        each = data.frames_per_snippet
        features = open_by_labels(path, labels, each, data.testing_list, data.axes)
        features.choose_crops(data.crops)
    else:
        video_list = getattr(data, f"{split}_list")
        features = FeatureSet.open(path, ranges, data.crops, video_list, data.axes)
    if labels is None or split == "training":
        return features, None
    labels_of = load_feature_labels(labels, features, data.frames_per_snippet, data.equal_lengths)
    return features, labels_of


def describe_truth(data: FeatureDataConfig, features: FeatureSet) -> dict[str, str]:
    """For protocols: which label file was used, and what states the order of the videos."""
    order = {"order of videos": features.order} if features.order else {}
    return (
        order if data.label_file is None else {"labels": describe_labels(data.label_file), **order}
    )


def load_feature_labels(
    path: str | Path, features: FeatureSet, frames_per_snippet: int, equal_lengths: bool = False
) -> dict[str, np.ndarray]:
    """Labels of each video, as long as the video.

    Known: ``.npz`` (video -> frames), the annotation texts of UCF-Crime and XD-Violence, and
    whatever ``datasets.labels.frame_labels`` reads. A video may have up to a snippet more frames
    than its snippets cover (what is left over at its end), or fewer where it is shorter than one.

    Args:
        path: file or folder.
        features: the videos.
        frames_per_snippet: frames that one snippet covers.
        equal_lengths: every video really has as many snippets as the others.

    Returns:
        Video name -> uint8 (num_frames,), for every video of ``features``.

    Raises:
        UserError: a damaged file, a video without labels, labels of a wrong length, labels in an
            order that nothing states, or features that cannot be aligned with frames.
    """
    path = Path(path)
    raw = read_raw(path)
    if raw.keys is not None:
        raw = _of_videos(raw, features, path)
    elif len(raw.values) == 1 and len(features.names) > 1 and not features.order:
        raise UserError(
            f"{path}: labels of all frames in a row, and nothing states the order of its "
            f"{len(features.names)} videos; {ORDER_REMEDY}"
        )
    if not equal_lengths:
        _require_snippets(raw, features, frames_per_snippet)
    covered = dict(zip(features.names, features.lengths * frames_per_snippet, strict=True))
    # The annotation text of UCF-Crime passes the circulating features by one whole snippet.
    slack = frames_per_snippet - (0 if path.suffix == ".txt" and raw.keys else 1)
    order = features.names if features.order else None
    num_frames = {name: int(length) for name, length in covered.items()}
    labels_of = fit_labels(raw, num_frames, path, order, slack)
    return {name: labels_of[name] for name in features.names}


def open_by_labels(
    path: str | Path,
    labels: str | Path,
    frames_per_snippet: int,
    video_list: str | Path = "",
    axes: Axes = "auto",
) -> FeatureSet:
    """One concatenated array whose videos' lengths are those of their labels.

    The videos follow ``video_list``; without it they follow the labels' own order.

    Raises:
        UserError: the labels are no ``.npz``, their lengths do not cover the array, or nothing
            states the order of the videos.
    """
    labels = Path(labels)
    if labels.suffix != ".npz":
        raise UserError(
            f"{path}: one array of many videos needs their lengths: name data.testing_ranges, or "
            "labels in an .npz of one array a video"
        )
    raw = read_raw(labels)
    keys = [canonical_name(str(key)) for key in raw.keys or []]
    named = dict(zip(keys, map(_size, raw.values), strict=True))
    names, order = list(named), labels.name
    if video_list:
        names, order = read_video_list(video_list), Path(video_list).name
        _require_named(names, named, labels)
    elif names == sorted(names) and is_order_open(names):
        raise UserError(
            f"{path}: nothing states the order of its videos: {labels.name} is sorted by name, and "
            "such arrays circulate in the order of a list; name the list that the array was "
            "concatenated by (--test_list, data.testing_list; a text of the names in that order)"
        )
    stops = np.cumsum([named[name] // frames_per_snippet for name in names])
    table = np.stack([np.concatenate([[0], stops[:-1]]), stops], axis=1)
    return FeatureSet(open_array(Path(path), names, table, labels, order, axes))


def _of_videos(raw: RawLabels, features: FeatureSet, path: Path) -> RawLabels:
    """The labels of these videos under their names; as it is where no name is known."""
    keys = [str(key) for key in raw.keys or []]
    named = find_videos(dict(zip(keys, raw.values, strict=True)), features.names)
    extra = set(named) - set(features.names)
    if path.suffix != ".npz" and (len(extra) == len(named) or (extra and path.suffix == ".csv")):
        return raw  # by numbers or in order, or a name that nobody knows
    expected = features.names
    if raw.is_partial:
        expected = [name for name in expected if _is_abnormal(name)]
    _require_named(expected, named, path)
    if extra:
        logger.warning("%s: %d labelled videos have no features", path, len(extra))
    kept = [name for name in features.names if name in named]
    return RawLabels(kept, [named[name] for name in kept], raw.is_partial)


def _require_named(expected: list[str], named: Collection[str], path: Path) -> None:
    missing = [name for name in expected if name not in named]
    if missing:
        raise UserError(
            f"{path}: no labels of video {missing[0]} ({len(missing)} of {len(expected)} "
            "videos are missing); use the labels of these videos, or name the videos of an array "
            "by its list (--test_list, data.testing_list)"
        )


def _size(value: np.ndarray | Intervals) -> int:
    """Frames that are labelled one by one."""
    return value.size if isinstance(value, np.ndarray) else 0


def _is_abnormal(name: str) -> bool:
    """Whether XD-Violence's name of a video says so."""
    return "_label_" in name and not name.endswith(NORMAL_OF_XD)


def _require_snippets(raw: RawLabels, features: FeatureSet, frames_per_snippet: int) -> None:
    """Raise ``UserError`` for features of so many segments a video, however long the video is.

    They are taken for such where all videos are of one length and the labels do not confirm it.
    """
    lengths = set(features.lengths.tolist())
    if len(features.names) < 2 or len(lengths) > 1 or not lengths <= set(SEGMENTS):
        return
    in_a_row = len(raw.values) == 1
    covered = frames_per_snippet * (len(features) if in_a_row else next(iter(lengths)))
    if any(abs(_size(value) - covered) >= frames_per_snippet for value in raw.values):
        raise UserError(
            f"{features.path}: all {len(features.names)} videos have {lengths.pop()} snippets, as "
            "features of so many segments a video do, which cannot be aligned with frames; use "
            "features of every snippet, or set data.equal_lengths=true if the videos are so"
        )
