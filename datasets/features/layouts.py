"""The layouts of snippet features: a folder of a file a video or a crop, or one array."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.features.files import (
    Axes,
    CropFiles,
    FeatureFile,
    explain,
    join_crops,
    open_feature_file,
    require_alike,
    require_snippets_first,
)
from datasets.names import canonical_name, group_crops, read_video_list
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY
from utils.untrusted.expansion import require_small_npz

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """Videos and where they lie.

    Attributes:
        files: arrays that follow each other.
        names: of the videos, in the order of the snippets.
        starts: (V + 1,) int64 first snippet of each video, the total last.
        order: what says that the videos come in this order; empty: nothing but their names.
    """

    files: list[FeatureFile | CropFiles]
    names: list[str]
    starts: np.ndarray
    order: str


def open_folder(folder: Path, video_list: str | Path = "", axes: Axes = "auto") -> Layout:
    """One ``VIDEO.npy`` a video, or one ``VIDEO__0.npy`` ... a crop; sorted by name, or as listed.

    Raises:
        UserError: no files, files that differ, crops that are missing, listed videos without files.
    """
    paths = sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: holds no VIDEO.npy; run pre_process/extract_features.py")
    paths.sort(key=lambda path: canonical_name(path.name))
    names = [canonical_name(path.name) for path in paths]
    repeated = [name for name, other in itertools.pairwise(names) if name == other]
    if repeated:
        raise UserError(f"{folder}: two files are named for video {repeated[0]}; keep one of them")
    crops = group_crops(names, folder)
    videos = (
        {name: [place] for place, name in enumerate(names)}
        if crops is None
        else dict(sorted(crops.items()))
    )
    if video_list:
        videos = _listed(videos, read_video_list(video_list), folder, video_list)
    files = []
    for video, places in videos.items():
        parts = [open_feature_file(paths[place], axes) for place in places]
        files.append(parts[0] if crops is None else join_crops(parts, video))
    if axes == "auto" and crops is None:
        require_snippets_first(files)
    require_alike(files)
    starts = np.cumsum([0, *(file.num_snippets for file in files)])
    return Layout(files, list(videos), starts, Path(video_list).name if video_list else "")


def _listed(
    videos: dict[str, list[int]], expected: list[str], folder: Path, video_list: str | Path
) -> dict[str, list[int]]:
    missing = [name for name in expected if name not in videos]
    if missing:
        raise UserError(
            f"{folder}: no features of {missing[0]}, which {video_list} names ({len(missing)} of "
            f"{len(expected)} are missing); use the list of these features"
        )
    if len(expected) < len(videos):
        logger.warning("%s: %d videos are not in %s and left out",
                       folder, len(videos) - len(expected), video_list)  # fmt: skip
    return {name: videos[name] for name in expected}


def open_concatenated(
    path: Path, ranges: str | Path, video_list: str | Path = "", axes: Axes = "auto"
) -> Layout:
    """One array of all videos with the snippet range of each, named by a list or the ranges.

    Raises:
        UserError: as ``open_array`` and ``read_ranges``, or a list of other videos.
    """
    open_feature_file(path, axes)  # its faults are the more urgent ones
    if not ranges:
        raise UserError(
            f"{path}: one array of many videos needs the videos' ranges beside it;"
            " name them (data.training_ranges or data.testing_ranges: a (V, 2) .npy or a .npz)"
        )
    names, table = read_ranges(Path(ranges))
    if video_list:
        names = _agreed(names, read_video_list(video_list), ranges, video_list, len(table))
    made_up = [f"video_{index:05d}" for index in range(len(table))]
    order = Path(video_list).name if video_list else Path(ranges).name if names else ""
    return open_array(path, names or made_up, table, ranges, order, axes)


def _agreed(
    names: list[str] | None,
    listed: list[str],
    ranges: str | Path,
    video_list: str | Path,
    count: int,
) -> list[str]:
    if len(listed) != count or names not in (None, listed):
        raise UserError(
            f"{video_list}: its {len(listed)} videos are not the {count} of {ranges} in their "
            "order; give the list that the features were concatenated by"
        )
    return listed


def open_array(
    path: Path,
    names: Sequence[str],
    table: np.ndarray,
    source: str | Path,
    order: str,
    axes: Axes = "auto",
) -> Layout:
    """One concatenated array whose videos are ``names`` at the (V, 2) snippet ranges ``table``.

    Raises:
        UserError: unreadable array, or ranges (from ``source``) that do not cover it.
    """
    file = open_feature_file(Path(path), axes)
    covered = len(table) and table[0, 0] == 0 and table[-1, 1] == file.num_snippets
    if not covered or (table[1:, 0] != table[:-1, 1]).any() or (table[:, 1] <= table[:, 0]).any():
        span = f"{table[0, 0]} to {table[-1, 1]}" if len(table) else "nothing"
        raise UserError(
            f"{source}: the {len(table)} ranges ({span}) do not cover the {file.num_snippets} "
            f"snippets of {path} one after the other; each row is start, stop (exclusive)"
        )
    return Layout([file], list(names), np.append(table[:, 0], table[-1, 1]), order)


def read_ranges(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Video names, ``None`` where the file has none, and their (V, 2) int64 snippet ranges.

    Raises:
        UserError: missing file or other contents.
    """
    require_small_npz(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        table = loaded if isinstance(loaded, np.ndarray) else loaded["ranges"]
        table = np.asarray(table).astype(np.int64, casting="same_kind")
        names = None
        if not isinstance(loaded, np.ndarray):
            names = [canonical_name(str(name)) for name in loaded["names"]]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of snippet ranges; correct the path") from None
    except (KeyError, TypeError, *DAMAGED_ARRAY) as error:
        raise UserError(
            f"{path}: not readable as snippet ranges ({explain(path, error)})"
        ) from None
    if table.ndim != 2 or table.shape[1] != 2 or (names is not None and len(names) != len(table)):
        raise UserError(f"{path}: ranges are (videos, 2) start, stop; this is {table.shape}")
    return names, table
