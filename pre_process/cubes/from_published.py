"""Published boxes, chunks and labels into ``data/NAME``, in this project's formats."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.cubes.files import read_manifest, write_cubes
from datasets.labels.frame_labels import read_labels, save_labels
from datasets.manifest import FILE_NAME, SPLITS, DataSet, VideoEntry, load_dataset, save_dataset
from pre_process.cubes.extraction import cube_folder
from pre_process.detectors.box_files import box_file, load_published_boxes, save_boxes
from published.chunks import ChunkSet
from published.inputs import LABEL_FILE, published_labels
from utils.errors import UserError
from utils.safe_pickle import load_npy

logger = logging.getLogger(__name__)

_SETTINGS = {"made_by": "published files"}
_BOX_FILES = {"training": "*_bboxes_train.npy", "testing": "*_bboxes_test.npy"}
_BATCH = 512


def import_data(source: Path, root: Path, name: str, frame_size: tuple[int, int]) -> list[str]:
    """Import what a published data folder holds; what was imported before is skipped.

    Args:
        source: the folder with ``training/``, ``testing/``, ``ground_truth_demo/`` and box files.
        root: ``data/NAME``. With a ``dataset.json`` (from ``prepare_dataset.py``) its videos are
            used; without one the test videos are those of the labels, and all training frames
            are taken as one video.
        name: the data set's name, for a new ``dataset.json``.
        frame_size: (width, height) of the videos, for a new ``dataset.json``.

    Returns:
        One line for each thing that was imported.

    Raises:
        UserError: nothing to import, or files that are damaged, unsafe or do not fit each other.
    """
    done = []
    dataset = _require_dataset(source, root, name, frame_size)
    if (source / LABEL_FILE).is_file():
        lengths = {entry.name: entry.num_frames for entry in dataset.videos("testing")}
        labels = read_labels(source / LABEL_FILE, lengths)
        save_labels(root, labels, source / LABEL_FILE)
        done.append(f"labels of {len(labels)} videos: {root / 'labels.npz'}")
    for split in SPLITS:
        box_file = _find_box_file(source, split)
        if box_file:
            count = import_boxes(box_file, dataset, split)
            done.append(f"{count} {split} boxes: {root / 'boxes' / split}")
        if (source / split / "chunked_samples").is_dir():
            count = import_chunks(source, dataset, split)
            done.append(f"{count} {split} cubes: {root / 'cubes' / split}")
    if not done:
        raise UserError(
            f"{source}: nothing to import; looked for {LABEL_FILE}, "
            f"{', '.join(_BOX_FILES.values())} and SPLIT/chunked_samples/"
        )
    return done


def import_boxes(path: Path, dataset: DataSet, split: str) -> int:
    """Write a published box file as one file a video; gives the number of boxes."""
    entries = dataset.videos(split)
    by_video = load_published_boxes(path, entries)
    for entry in entries:
        save_boxes(box_file(dataset.root, entry), by_video[entry.name], _SETTINGS)
    return sum(len(boxes) for video in by_video.values() for boxes in video)


def import_chunks(source: Path, dataset: DataSet, split: str) -> int:
    """Write the published chunks of a split as one cube folder a video; gives their number.

    Flow is kept as float16 like all our cubes, which changes errors by about 1e-3 of themselves.
    """
    entries = dataset.videos(split)
    chunks = ChunkSet.open(source, split, {entry.name: entry.num_frames for entry in entries})
    for index, entry in enumerate(tqdm(entries, desc=f"{split} cubes", unit="video")):
        folder = cube_folder(dataset.root, entry)
        manifest = read_manifest(folder)
        if manifest is None or manifest.get("chunks") != chunks.fingerprint:
            rows = np.flatnonzero(chunks.video_index == index)
            _write_video(
                chunks, rows[np.argsort(chunks.frames[rows], kind="stable")], entry, folder
            )
    return len(chunks)


def _write_video(chunks: ChunkSet, rows: np.ndarray, entry: VideoEntry, folder: Path) -> None:
    description = {
        "video": entry.name,
        "split": entry.split,
        "num_frames": entry.num_frames,
        "width": entry.width,
        "height": entry.height,
        "settings": _SETTINGS,
        "chunks": chunks.fingerprint,
    }
    with write_cubes(folder, description) as writer:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            appearance, motion = chunks.gather(batch)
            frames = chunks.frames[batch]
            for frame in np.unique(frames).tolist():
                here = frames == frame
                boxes = chunks.boxes[batch[here]]
                writer.append(frame, boxes, appearance[here], motion[here].astype(np.float16))


def _require_dataset(source: Path, root: Path, name: str, frame_size: tuple[int, int]) -> DataSet:
    """The prepared data set, or one made from the published files alone."""
    if (root / FILE_NAME).is_file():
        return load_dataset(root)
    labels = published_labels(source / LABEL_FILE)
    lengths = {("testing", video): len(values) for video, values in labels.items()}
    lengths["training", "all"] = _count_training_frames(source)
    width, height = frame_size
    entries = tuple(
        VideoEntry(
            name=video,
            split=split,
            source=root.absolute() / split / "frames" / video,
            kind="frames",
            start=0,
            stop=count,
            width=width,
            height=height,
        )
        for (split, video), count in lengths.items()
    )
    dataset = DataSet(root.absolute(), name, entries)
    save_dataset(dataset)
    logger.info(
        "%s: made from the published files; the report shows no pictures, and new boxes or flow "
        "cannot be computed, until the videos are there",
        root / FILE_NAME,
    )
    return dataset


def _count_training_frames(source: Path) -> int:
    """Frames of all training videos: boxes tell it exactly, chunks up to the last cube."""
    box_file = _find_box_file(source, "training")
    if box_file:
        return len(load_npy(box_file))
    return sum(ChunkSet.open(source, "training").num_frames.values())


def _find_box_file(source: Path, split: str) -> Path | None:
    candidates = sorted(source.glob(_BOX_FILES[split]))
    if len(candidates) > 1:
        raise UserError(f"{source}: more than one {_BOX_FILES[split]}; keep the one to import")
    return candidates[0] if candidates else None
