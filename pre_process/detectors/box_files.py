"""Boxes on disk: our ``boxes/SPLIT/VIDEO.npz`` and HF2-VAD's ``NAME_bboxes_SPLIT.npy``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.box_checks import require_corners
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY, atomic_path
from utils.safe_pickle import load_npy
from utils.untrusted.expansion import require_small_npz


def box_file(root: Path, entry: VideoEntry) -> Path:
    """Where a video's boxes lie: ``data/NAME/boxes/SPLIT/VIDEO.npz``."""
    return Path(root) / "boxes" / entry.split / f"{entry.name}.npz"


def save_boxes(path: Path, boxes: Sequence[np.ndarray], settings: dict[str, Any]) -> None:
    """Write a video's boxes, one (n,4) array a frame, atomically."""
    counts = [len(each) for each in boxes]
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]).astype(np.float32),
            frames=np.repeat(np.arange(len(boxes), dtype=np.int32), counts),
            num_frames=np.int32(len(boxes)),
            settings=np.array(json.dumps(settings, sort_keys=True)),
        )


def load_boxes(
    path: Path, num_frames: int, size: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """Read a video's boxes: one (n,4) float32 array a frame.

    Args:
        path: the ``.npz`` file.
        num_frames: frames of the video.
        size: width and height of its frames, in which the boxes must lie; ``None``: anywhere.

    Raises:
        UserError: missing or damaged file, another number of frames, or boxes that are no corners
            in pixels.
    """
    content = _read_npz(path)
    if int(content["num_frames"]) != num_frames:
        raise UserError(
            f"{path}: boxes of {int(content['num_frames'])} frames, the video has {num_frames}; "
            "run pre_process/extract_bboxes.py --overwrite"
        )
    frames = content["frames"]
    rows = _as_rows(content["boxes"], str(path))
    if len(frames) != len(rows) or np.any(np.diff(frames) < 0):
        raise UserError(f"{path}: 'frames' must be sorted and one a box; extract the boxes again")
    sizes = np.tile(np.array(size or (np.inf, np.inf)), (len(rows), 1))
    boxes = require_corners(rows, sizes, frames, str(path))
    return np.split(boxes, np.searchsorted(frames, np.arange(1, num_frames)))


def load_box_settings(path: Path) -> dict[str, Any]:
    """The settings that a video's boxes were made with; empty when the file does not say.

    Raises:
        UserError: missing or damaged file.
    """
    text = str(_read_npz(path).get("settings", ""))
    try:
        return json.loads(text) if text else {}
    except json.JSONDecodeError:
        raise UserError(f"{path}: 'settings' is not JSON; extract the boxes again") from None


def load_published_boxes(path: Path, entries: Sequence[VideoEntry]) -> dict[str, list[np.ndarray]]:
    """Read ``NAME_bboxes_{train,test}.npy``: one array a frame, the videos one after another.

    Args:
        path: an object array of (n,4) arrays; the pickle inside is opened with restrictions.
        entries: the split's videos in sorted order.

    Returns:
        For each video name one (n,4) float32 array a frame.

    Raises:
        UserError: missing or damaged file, not one array for each frame of the split, or boxes
            that are no corners in pixels inside the videos' frames.
    """
    frames = list(load_npy(path))
    expected = sum(entry.num_frames for entry in entries)
    if len(frames) != expected:
        raise UserError(
            f"{path}: boxes of {len(frames)} frames, the split has {expected} frames in "
            f"{len(entries)} videos; name the file made from these videos"
        )
    rows = [_as_rows(each, f"{path}, frame {index}") for index, each in enumerate(frames)]
    counts = [len(each) for each in rows]
    columns = min((each.shape[1] for each in rows if len(each)), default=4)
    joined = np.concatenate(
        [np.zeros((0, columns)), *(each[:, :columns] for each in rows if len(each))]
    )
    sizes = [(entry.width, entry.height) for entry in entries for _ in range(entry.num_frames)]
    of_frame = np.repeat(np.arange(len(frames)), counts)
    boxes = require_corners(joined, np.array(sizes)[of_frame], of_frame, str(path))
    by_frame = np.split(boxes, np.cumsum(counts)[:-1])
    ends = np.cumsum([entry.num_frames for entry in entries])
    return {
        entry.name: by_frame[end - entry.num_frames : end]
        for entry, end in zip(entries, ends.tolist(), strict=True)
    }


def common_box_settings(dataset: DataSet) -> dict[str, Any]:
    """The settings all ``boxes/`` files of a data set were made with.

    Raises:
        UserError: a file is missing, or they differ.
    """
    first: dict[str, Any] | None = None
    for entry in dataset.entries:
        path = box_file(dataset.root, entry)
        settings = load_box_settings(path)
        if first is not None and settings != first:
            raise UserError(
                f"{path}: made with other settings than the files before it; "
                "run pre_process/extract_bboxes.py --overwrite"
            )
        first = settings
    return first or {}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    require_small_npz(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such boxes; run pre_process/extract_bboxes.py with a backend other than "
            "'file', or name files in pre_process.boxes.training_file and testing_file"
        ) from None
    except (NotImplementedError, RuntimeError, *DAMAGED_ARRAY) as error:
        raise UserError(f"{path}: not a readable .npz file ({error}); extract it again") from None
    missing = {"boxes", "frames", "num_frames"} - set(arrays)
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}; extract the boxes again")
    return arrays


def _as_rows(boxes: Any, where: str) -> np.ndarray:
    """(n, 4 or more) numbers, one row a box; their meaning is not looked at."""
    array = np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] < 4 or array.dtype.kind not in "fiu":
        raise UserError(f"{where}: shape {array.shape} {array.dtype}; (n,4) numbers are needed")
    return array
