"""The label formats in circulation, read into one shape: ``RawLabels``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.labels.annotations import read_annotations
from datasets.labels.masks import has_masks, read_masks, split_volume
from datasets.labels.mat_files import read_mat
from datasets.labels.raw import MOST_FRAMES, Intervals, RawLabels, matlab_intervals, row_intervals
from datasets.labels.tables import HEADERS, read_table
from datasets.manifest import natural_key
from datasets.names import read_text
from utils.errors import UserError
from utils.safe_pickle import load_npy, load_pickle
from utils.untrusted.expansion import require_small_npz


def read_raw(path: Path) -> RawLabels:
    """Read a label file or folder of any circulating format.

    Raises:
        UserError: missing, damaged, or of no known format.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such label file or folder")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise UserError(f"{path}: unknown label format {path.suffix!r}; known: {known}, folders")
    return reader(path)


def _read_folder(folder: Path) -> RawLabels:
    """One file a video, one folder of mask images a video, or a folder that holds one file."""
    scripts = sorted(folder.glob("*.m"))
    if len(scripts) == 1:
        return _read_matlab_script(scripts[0])
    if has_masks(folder):
        masks = read_masks(folder)
        named = [(name, np.array([mask.any() for mask in frames])) for name, frames in masks]
        return RawLabels([name for name, _ in named], [values for _, values in named])
    files = [path for path in folder.iterdir() if path.suffix.lower() in (".npy", ".txt", ".csv")]
    files.sort(key=lambda path: natural_key(path.name))
    if not files:
        raise UserError(
            f"{folder}: no labels in this folder; it must hold one file a video (.npy, .txt, .csv, "
            "N_label.mat), NAME_gt folders of mask images, or one .m file"
        )
    names = [path.stem for path in files]
    if all(path.stem.endswith("_gt") for path in files):  # as XD-Violence's circulate
        names = [path.stem.removesuffix("_gt") for path in files]
    return RawLabels(names, [_read_frames_file(path) for path in files])


def _read_frames_file(path: Path) -> np.ndarray:
    """One value a frame: ``.npy`` (masks too), or text with numbers."""
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise UserError(
                f"{path}: damaged label file, or no array of numbers; write it again"
            ) from None
        is_stack = values.ndim == 3
        return np.array([mask.any() for mask in values]) if is_stack else np.asarray(values)
    text = re.split(r"[\s,;]+", read_text(path).strip())
    try:
        return np.array([float(part) for part in text if part])
    except ValueError:
        raise UserError(f"{path}: must hold one number (0 or 1) a frame") from None


def _read_frames(path: Path) -> RawLabels:
    return RawLabels(None, [_read_frames_file(path)])


def _read_text(path: Path) -> RawLabels:
    """One number a frame, or annotations of UCF-Crime or XD-Violence, whose lines have a name."""
    fields = next((line.split() for line in read_text(path).splitlines() if line.strip()), [])
    if len(fields) > 1 and not re.fullmatch(r"[\d.,;+-]+", fields[0]):
        return read_annotations(path)
    return _read_frames(path)


def _read_npy(path: Path) -> RawLabels:
    values = load_npy(path)
    if values.dtype == object:
        return from_tree(values[()] if values.ndim == 0 else list(values), path)
    return _read_frames(path)


def _read_npz(path: Path) -> RawLabels:
    require_small_npz(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return from_tree({name: archive[name] for name in archive.files}, path)
    except UserError:
        raise
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        raise UserError(f"{path}: damaged label file ({error})") from None


def _read_json(path: Path) -> RawLabels:
    """JSON, or a pickle, which the circulating ``gt_label.json`` are."""
    try:
        tree = json.loads(path.read_bytes())
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for labels; write it again") from None
    except ValueError as error:  # also of numbers of thousands of digits
        if path.read_bytes()[:1] in b"{[ \n":
            reason = str(error).partition(";")[0]
            raise UserError(f"{path}: not a JSON file ({reason}); write it again") from None
        tree = load_pickle(path)
    return from_tree(tree, path)


def _read_pickle(path: Path) -> RawLabels:
    return from_tree(load_pickle(path), path)


def _read_mat(path: Path) -> RawLabels:
    """``gt``: a cell of intervals a video; ``volLabel``: masks; or one variable a video."""
    variables = read_mat(path)
    if "gt" in variables:
        gt = variables["gt"]
        return RawLabels(None, matlab_intervals(gt if isinstance(gt, list) else [gt], path))
    if "volLabel" in variables:
        return RawLabels(None, [np.array([mask.any() for mask in split_volume(variables, path)])])
    return from_tree(variables, path)


def _read_matlab_script(path: Path) -> RawLabels:
    """UCSD's ``UCSDped2.m``: ``TestVideoFile{end+1}.gt_frame = [5:90, 140:200];``, 1-based."""
    text = re.sub(r"%.*", "", path.read_text(encoding="utf-8", errors="replace"))
    values = []
    for stretch in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text):
        spans = [_matlab_range(text, path) for text in re.split(r"[\s,;]+", stretch) if text]
        values.append(Intervals(np.array(spans, np.int64).reshape(-1, 2)))
    if not values:
        raise UserError(f"{path}: no line 'gt_frame = [start:end]' in this MATLAB file")
    return RawLabels(None, values)


def _matlab_range(text: str, path: Path) -> tuple[int, int]:
    """``5:90``, or one frame, from 1 and with the last one, as 0-based start and exclusive stop."""
    found = re.fullmatch(r"([0-9]{1,12})(?::([0-9]{1,12}))?", text)
    if not found:
        raise UserError(
            f"{path}: gt_frame: {text[:40]!r} is no START:END of frames; mend that line"
        )
    return int(found[1]) - 1, int(found[2] or found[1])


def _read_csv(path: Path) -> RawLabels:
    """A table with one of the known headers, or numbers alone, one a frame."""
    table = read_table(path)
    if table is not None:
        return table
    if re.fullmatch(r"[\d.\s,]*", read_text(path)):
        return _read_frames(path)
    raise UserError(
        f"{path}: the first line must be {' or '.join(map(repr, HEADERS))} (start and frame "
        "0-based, stop exclusive; first and last from 1)"
    )


def from_tree(tree: Any, path: Path) -> RawLabels:
    """Labels from a dictionary (video -> labels) or a list (one item a video).

    An item is one value a frame, or a list of [start, stop] pairs (0-based, stop exclusive).
    """
    if isinstance(tree, dict):
        keys, items = list(tree), list(tree.values())
        _require_names(keys, path)
    elif isinstance(tree, list | tuple) and any(np.ndim(item) for item in tree):
        keys, items = None, list(tree)
    else:
        return RawLabels(None, [_as_values(tree, path, "the file")])
    names = keys or range(len(items))
    return RawLabels(
        keys, [_as_values(item, path, name) for name, item in zip(names, items, strict=True)]
    )


def _require_names(keys: Sequence[Any], path: Path) -> None:
    for key in keys:
        is_number = isinstance(key, int) and abs(key) <= MOST_FRAMES
        if not (is_number or (isinstance(key, str) and len(key) <= 4096)):
            raise UserError(f"{path}: videos are named by texts or numbers; write it again")


def _as_values(item: Any, path: Path, name: Any) -> np.ndarray | Intervals:
    is_text = isinstance(item, list | tuple) and any(isinstance(each, str | bytes) for each in item)
    if is_text or isinstance(item, str | bytes):
        raise UserError(f"{path}: video {name}: labels must be numbers, one a frame")
    try:
        values = np.asarray(item)
        if isinstance(item, list) and values.ndim == 2 and values.shape[1] == 2:
            return row_intervals(values, f"{path}: video {name}")
        return values.astype(np.float64)
    except (ValueError, TypeError, OverflowError, MemoryError):
        raise UserError(f"{path}: video {name}: labels must be numbers, one a frame") from None


_READERS = {
    ".json": _read_json,
    ".pkl": _read_pickle,
    ".pickle": _read_pickle,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".m": _read_matlab_script,
    ".csv": _read_csv,
    ".txt": _read_text,
}
