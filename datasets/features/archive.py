"""Features of many videos in one ``.npz``: ``features``, ``lengths``, ``names``, ``frame_labels``.

The layout of the PETS 2009 I3D features of the MC-VAD data set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.features.files import MOST_CROPS, explain
from datasets.names import canonical_name
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY

LAYOUT = (
    "features (snippets, crops, D) or (snippets, D), lengths (videos,) in snippets, names (videos,)"
    " and, where there are labels, frame_labels (frames,)"
)


class FeatureArchive(NamedTuple):
    """Videos of one file, in its order.

    Attributes:
        features: video -> (T, crops, D) float16, float32 or float64.
        labels: video -> (T * frames_per_snippet,) uint8 of 0 and 1; ``None``: the file has none.
        frames_per_snippet: frames that a snippet covers; ``None`` without labels.
    """

    features: dict[str, np.ndarray]
    labels: dict[str, np.ndarray] | None
    frames_per_snippet: int | None

    @property
    def snippet_labels(self) -> dict[str, np.ndarray]:
        """Video -> (T,) uint8: whether any of a snippet's frames is abnormal."""
        each = self.frames_per_snippet or 1
        named = (self.labels or {}).items()
        return {name: labels.reshape(-1, each).max(axis=1) for name, labels in named}


def read_archive(path: Path) -> FeatureArchive:
    """Read and check such a file.

    Raises:
        UserError: missing, damaged or foreign file, parts that do not fit each other, or values
            that are not finite.
    """
    arrays = _load(path)
    features, lengths = arrays["features"], arrays["lengths"]
    if features.ndim == 2:
        features = features[:, None]
    _check_features(features, path)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any():
        raise UserError(f"{path}: lengths are whole numbers of snippets, 1 or more, one a video")
    if lengths.max(initial=0) > len(features) or lengths.sum() != len(features):
        raise UserError(
            f"{path}: lengths add up to {lengths.sum()} snippets, but features hold "
            f"{len(features)}; write the file again from one source"
        )
    names, ends = _names(arrays["names"], len(lengths), path), np.cumsum(lengths)[:-1]
    videos = dict(zip(names, np.split(features, ends), strict=True))
    if "frame_labels" not in arrays:
        return FeatureArchive(videos, None, None)
    labels, each = _labels(arrays["frame_labels"], len(features), path)
    return FeatureArchive(
        videos, dict(zip(names, np.split(labels, ends * each), strict=True)), each
    )


def repeated_videos(training: FeatureArchive, testing: FeatureArchive) -> list[str]:
    """Test videos that were trained on, as ``TEST (TRAINING)``: they are measured too kindly."""
    known = {_digest(rows): name for name, rows in training.features.items()}
    return [
        f"{name} ({known[_digest(rows)]})"
        for name, rows in testing.features.items()
        if _digest(rows) in known
    ]


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(f"{rows.shape}".encode() + rows.tobytes()).hexdigest()


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ("features", "lengths", "names") if key not in archive.files]
            if missing:
                raise UserError(
                    f"{path}: lacks {', '.join(missing)} (it holds {', '.join(archive.files)}); "
                    f"such a file holds {LAYOUT}"
                )
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of features; correct the path") from None
    except (AttributeError, TypeError, *DAMAGED_ARRAY) as error:  # one array is no archive
        reason = explain(path, error) if path.is_file() else str(error)
        raise UserError(f"{path}: not a readable .npz of {LAYOUT} ({reason})") from None


def _check_features(features: np.ndarray, path: Path) -> None:
    if features.ndim != 3 or not features.size or features.shape[1] > MOST_CROPS:
        raise UserError(
            f"{path}: features of shape {features.shape}, but they are (snippets, crops, D) with "
            f"at most {MOST_CROPS} crops, or (snippets, D)"
        )
    if features.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"{path}: features are {features.dtype}; save float16, 32 or 64")
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))[0])
        raise UserError(f"{path}: snippet {row} holds NaN or infinite values; extract it again")


def _names(stored: np.ndarray, count: int, path: Path) -> list[str]:
    names = [canonical_name(str(name)) for name in stored.ravel()]
    if len(names) != count or stored.dtype.kind != "U":
        raise UserError(f"{path}: names are {count} texts, one a video of lengths")
    for name in names:
        if not name or name.startswith(".") or set(name) & set("/\\\0"):
            raise UserError(f"{path}: {name!r} cannot name a video's file; rename it")
        if names.count(name) > 1:
            raise UserError(f"{path}: names {name} twice; name each video once")
    return names


def _labels(stored: np.ndarray, snippets: int, path: Path) -> tuple[np.ndarray, int]:
    """Labels as uint8, and how many frames a snippet has."""
    if stored.ndim != 1 or not len(stored) or len(stored) % snippets:
        raise UserError(
            f"{path}: frame_labels of shape {stored.shape} do not divide among {snippets} "
            "snippets; they hold as many frames for every snippet, videos one after the other"
        )
    if not np.isin(stored, (0, 1)).all():
        raise UserError(f"{path}: frame_labels hold other values than 0 (normal) and 1 (abnormal)")
    return stored.astype(np.uint8), len(stored) // snippets
