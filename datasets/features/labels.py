"""Frame labels of videos that are known by their snippet features only."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from datasets.features.dataset import FeatureSet, canonical_name, open_array
from datasets.features.ucf_crime import frame_labels, read_annotations
from datasets.labels.frame_labels import read_labels
from utils.config.frd import FeatureDataConfig
from utils.errors import UserError

logger = logging.getLogger(__name__)


def open_split(
    data: FeatureDataConfig, split: str
) -> tuple[FeatureSet, dict[str, np.ndarray] | None]:
    """The features of a split and, of the test videos, their frame labels where there are any.

    Raises:
        UserError: features, ranges or labels that are missing, damaged, or do not belong together.
    """
    path, ranges, labels = data.features(split), getattr(data, f"{split}_ranges"), data.label_file
    if split == "training":
        return FeatureSet.open(path, ranges, data.crops), None
    if path.is_file() and not ranges and labels:
        features = open_by_labels(path, labels, data.frames_per_snippet)
        features.choose_crops(data.crops)
    else:
        features = FeatureSet.open(path, ranges, data.crops)
    if labels is None:
        return features, None
    return features, load_feature_labels(labels, features, data.frames_per_snippet)


def load_feature_labels(
    path: str | Path, features: FeatureSet, frames_per_snippet: int
) -> dict[str, np.ndarray]:
    """Labels of each video, as long as the video.

    Known: ``.npz`` (video -> frames), UCF-Crime's annotation text, and whatever
    ``datasets.labels.frame_labels`` reads. A video may have up to a snippet more frames than its
    snippets cover (what is left over at its end), or fewer where it is shorter than one.

    Returns:
        Video name -> uint8 (num_frames,), for every video of ``features``.

    Raises:
        UserError: a damaged file, a video without labels, or labels of a wrong length.
    """
    path = Path(path)
    covered = dict(zip(features.names, features.lengths * frames_per_snippet, strict=True))
    if path.suffix == ".txt" and path.is_file():
        intervals = read_annotations(path)
        _require_all(intervals, features, path)
        return {name: frame_labels(intervals[name], int(covered[name])) for name in features.names}
    if path.suffix != ".npz":
        return read_labels(path, {name: int(length) for name, length in covered.items()})
    named = read_label_archive(path)
    _require_all(named, features, path)
    for name in features.names:
        if abs(len(named[name]) - covered[name]) >= frames_per_snippet:
            raise UserError(
                f"{path}: video {name}: {len(named[name])} labels, but its features cover "
                f"{covered[name]} frames ({frames_per_snippet} a snippet); use the labels of these "
                "videos, or correct data.frames_per_snippet"
            )
    return {name: named[name] for name in features.names}


def open_by_labels(path: str | Path, labels: str | Path, frames_per_snippet: int) -> FeatureSet:
    """One concatenated array whose videos' lengths are those of their labels, sorted by name.

    Raises:
        UserError: the labels are no ``.npz``, or their lengths do not cover the array.
    """
    if Path(labels).suffix != ".npz":
        raise UserError(
            f"{path}: one array of many videos needs their lengths: name data.testing_ranges, or "
            "labels in an .npz of one array a video"
        )
    named = read_label_archive(Path(labels))
    names = sorted(named)
    stops = np.cumsum([len(named[name]) // frames_per_snippet for name in names])
    table = np.stack([np.concatenate([[0], stops[:-1]]), stops], axis=1)
    return open_array(Path(path), names, table, source=labels)


def read_label_archive(path: Path) -> dict[str, np.ndarray]:
    """Video name -> uint8 (num_frames,) out of an ``.npz``.

    Raises:
        UserError: missing or damaged file, or values other than 0 and 1.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            named = {canonical_name(name): archive[name].reshape(-1) for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such label file; correct the path") from None
    except (ValueError, AttributeError, EOFError, OSError) as error:
        raise UserError(f"{path}: not readable as labels ({error})") from None
    for name, values in named.items():
        if not np.isin(values, (0, 1)).all():
            raise UserError(f"{path}: video {name}: labels must be 0 (normal) or 1 (anomalous)")
    return {name: values.astype(np.uint8) for name, values in named.items()}


def _require_all(named: dict, features: FeatureSet, path: Path) -> None:
    missing = [name for name in features.names if name not in named]
    if missing:
        raise UserError(
            f"{path}: no labels of video {missing[0]} ({len(missing)} of {len(features.names)} "
            "videos are missing); use the labels of these videos"
        )
    extra = set(named) - set(features.names)
    if extra:
        logger.warning("%s: %d labelled videos have no features", path, len(extra))
