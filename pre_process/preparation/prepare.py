"""Bring videos and labels of a data set into ``data/NAME``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.frame_names import numbering
from datasets.image_folders import list_images
from datasets.labels.formats import Intervals, read_raw
from datasets.labels.frame_labels import FILE_NAME as LABELS_FILE
from datasets.labels.frame_labels import read_labels, read_mask_regions, save_labels
from datasets.labels.regions import Region, write_regions
from datasets.manifest import DataSet, VideoEntry, load_dataset, natural_key, with_max_side
from datasets.video_folders import video_name
from datasets.videos import ShortVideo, describe_video
from pre_process.preparation.layouts import Layout
from utils.errors import UserError
from utils.files import require_free_space

logger = logging.getLogger(__name__)

REGIONS_FILE = "regions.csv"


@dataclass(frozen=True)
class Collection:
    """The videos of a data set; ``declared`` are the frames that short test videos promise."""

    entries: list[VideoEntry]
    declared: dict[str, int]


def collect_videos(
    layout: Layout, output: Path, copy: bool, allow_short: bool = False
) -> Collection:
    """Probe all videos, then link them into the data set's folder (or copy them).

    Args:
        layout: from ``find_layout``.
        output: the data set's folder.
        copy: copy the videos, do not link them.
        allow_short: take videos with fewer frames than they declare as far as they go.

    Raises:
        UserError: a video that cannot be read (named), or too little disk for a copy.
    """
    sources = [
        (split, path) for split in ("training", "testing") for path in getattr(layout, split)
    ]
    bar = tqdm(sources, desc="read videos", unit="video", disable=None)  # only on a terminal
    entries: list[VideoEntry] = []
    declared: dict[str, int] = {}
    for split, path in bar:
        try:
            entries.append(describe_video(path, split))
        except ShortVideo as short:
            if not allow_short:
                raise UserError(f"{short}, or pass --allow_short to use those") from None
            entries.append(describe_video(path, split, allow_short=True))
            declared |= {entries[-1].name: short.declared} if split == "testing" else {}
    outside = [entry for entry in entries if not entry.source.is_relative_to(output)]
    if copy:
        size = sum(_num_bytes(entry.source) for entry in outside)
        require_free_space(output, size, "copying the videos")
    placed = {entry.source: _place(entry, output, copy) for entry in outside}
    entries = [replace(entry, source=placed.get(entry.source, entry.source)) for entry in entries]
    return Collection(entries, declared)


def check_place(name: str, source: Path | None, output: Path) -> None:
    """Refuse a data set where none can be.

    Raises:
        UserError: ``name`` is a path, or ``output`` lies inside ``source``.
    """
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise UserError(
            f"--name {name}: must be a name, not a path; give --output FOLDER to write elsewhere "
            "than data/NAME"
        )
    if source and source.resolve() in output.resolve().parents:
        raise UserError(
            f"--output {output}: lies inside --source {source}, where it would be taken for a "
            "folder of videos; name a folder elsewhere, or --source itself"
        )


def with_kept_size(dataset: DataSet) -> DataSet:
    """The data set with the ``max_side`` of an earlier preparation, if there was one."""
    try:
        return with_max_side(dataset, load_dataset(dataset.root).max_side)
    except UserError:
        return dataset


def import_labels(
    layout: Layout, dataset: DataSet, declared: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Read labels (and regions, where there are pixel masks) and write them into the data set.

    Labels of an earlier preparation are removed where there are none now.

    Args:
        layout: from ``find_layout``.
        dataset: its videos.
        declared: what short test videos promise; labels that are as long are cut, which is said.

    Returns:
        Test video -> (num_frames,) uint8; empty without labels.

    Raises:
        UserError: labels that do not fit the videos.
    """
    lengths = {entry.name: entry.num_frames for entry in dataset.videos("testing")}
    if layout.labels and lengths:
        _refuse_intervals_over_gaps(layout.labels, dataset)
    labels, regions = _read_ground_truth(layout, lengths, declared) if lengths else ({}, None)
    for file_name in (LABELS_FILE, REGIONS_FILE):
        (dataset.root / file_name).unlink(missing_ok=True)
    if labels:
        save_labels(dataset.root, labels, layout.labels)
    if regions is not None:
        write_regions(dataset.root / REGIONS_FILE, regions)
    return labels


def _read_ground_truth(
    layout: Layout, lengths: Mapping[str, int], declared: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], list[Region] | None]:
    """Labels and regions of the frames that are there.

    Labels of a short video are as long as the video is, or as it should have been.
    """
    if not layout.labels:
        return {}, None
    labels, used = _read_fitting_labels(layout.labels, dict(lengths), declared)
    regions = read_mask_regions(layout.masks, used) if labels and layout.masks else None
    if regions is not None:
        regions = [each for each in regions if each.frame < lengths[each.video]]
    return {name: values[: lengths[name]] for name, values in labels.items()}, regions


def _read_fitting_labels(
    path: Path, lengths: dict[str, int], declared: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Labels, and the video lengths that they are for: those that are there or those declared."""
    try:
        return read_labels(path, lengths), lengths
    except UserError as error:
        promised = lengths | dict(declared)
        try:
            labels = read_labels(path, promised) if declared else None
        except UserError:
            labels = None
        if labels is None:
            raise error from None
    for name, count in declared.items():
        logger.warning(
            "%s: video %s: labels of %d frames cut to the %d that can be read",
            path, name, count, lengths[name],
        )  # fmt: skip
    return labels, promised


def _refuse_intervals_over_gaps(path: Path, dataset: DataSet) -> None:
    """Intervals count frames: with images missing, by place or by the numbers in their names?"""
    counts = {
        entry.name: numbering(list_images(entry.source))
        for entry in dataset.videos("testing")
        if entry.kind == "frames"
    }
    gaps = {name: count for name, count in counts.items() if count and count.num_missing}
    if gaps and any(isinstance(value, Intervals) for value in read_raw(path).values):
        name, count = next(iter(gaps.items()))
        raise UserError(
            f"{path}: intervals of frames, but images of {len(gaps)} test video(s) are "
            f"missing ({name}: numbers {count.first} to {count.last} without {count.missing}, "
            f"{count.num_missing} in all): put them back, number the images without gaps, or give "
            "one label for each image there is"
        )


def summarise(dataset: DataSet, labels: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Rows for a table: split, videos, frames, frame sizes, anomalous frames."""
    rows: list[tuple[str, ...]] = []
    for split in ("training", "testing"):
        videos = dataset.videos(split)
        sizes = sorted({f"{entry.width}x{entry.height}" for entry in videos}, key=natural_key)
        abnormal = "-"
        if split == "testing" and labels:
            abnormal = str(sum(int(values.sum()) for values in labels.values()))
        frames = sum(entry.num_frames for entry in videos)
        rows.append((split, str(len(videos)), str(frames), ", ".join(sizes) or "-", abnormal))
    return rows


def _place(entry: VideoEntry, output: Path, copy: bool) -> Path:
    """Link or copy one source to ``SPLIT/videos/`` or ``SPLIT/frames/`` of the data set."""
    folder = output / entry.split / ("videos" if entry.kind == "video" else "frames")
    suffix = entry.source.suffix if entry.kind == "video" else ""
    target = folder / (video_name(entry.source) + suffix)
    folder.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    elif target.exists() and not copy:
        raise UserError(
            f"{target}: a copied video is in the way of a link to {entry.source}; remove it or "
            "choose another --output"
        )
    if not copy:
        target.symlink_to(entry.source.resolve())
    elif entry.kind == "video":
        shutil.copy2(entry.source, target)
    else:
        shutil.copytree(entry.source, target, dirs_exist_ok=True)
    return target


def _num_bytes(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
