"""Bring videos and labels of a data set into ``data/NAME``."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.labels.frame_labels import FILE_NAME as LABELS_FILE
from datasets.labels.frame_labels import read_labels, read_mask_regions, save_labels
from datasets.labels.regions import write_regions
from datasets.manifest import DataSet, VideoEntry, natural_key
from datasets.videos import describe_video, video_name
from pre_process.preparation.layouts import Layout
from utils.errors import UserError
from utils.files import require_free_space

REGIONS_FILE = "regions.csv"


def collect_videos(layout: Layout, output: Path, copy: bool) -> list[VideoEntry]:
    """Probe all videos, then link them into the data set's folder (or copy them).

    Raises:
        UserError: a video that cannot be read (named), or too little disk for a copy.
    """
    sources = [
        (split, path) for split in ("training", "testing") for path in getattr(layout, split)
    ]
    bar = tqdm(sources, desc="read videos", unit="video")
    entries = [describe_video(path, split) for split, path in bar]
    outside = [entry for entry in entries if not entry.source.is_relative_to(output)]
    if copy:
        size = sum(_num_bytes(entry.source) for entry in outside)
        require_free_space(output, size, "copying the videos")
    placed = {entry.source: _place(entry, output, copy) for entry in outside}
    return [replace(entry, source=placed.get(entry.source, entry.source)) for entry in entries]


def bring_labels(layout: Layout, dataset: DataSet) -> dict[str, np.ndarray]:
    """Read labels (and regions, where there are pixel masks) and write them into the data set.

    Labels of an earlier preparation are removed where there are none now.

    Returns:
        Test video -> (num_frames,) uint8; empty without labels.

    Raises:
        UserError: labels that do not fit the videos.
    """
    lengths = {entry.name: entry.num_frames for entry in dataset.videos("testing")}
    labels = read_labels(layout.labels, lengths) if layout.labels and lengths else {}
    regions = read_mask_regions(layout.masks, lengths) if labels and layout.masks else None
    for file_name in (LABELS_FILE, REGIONS_FILE):
        (dataset.root / file_name).unlink(missing_ok=True)
    if labels:
        save_labels(dataset.root, labels, layout.labels)
    if regions is not None:
        write_regions(dataset.root / REGIONS_FILE, regions)
    return labels


def summarise(dataset: DataSet, labels: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """Rows for a table: split, videos, frames, frame sizes, anomalous frames."""
    rows = []
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
