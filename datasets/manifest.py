"""Which videos a data set has: ``dataset.json`` in the data set's folder."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json, write_json
from utils.format_version import require_format
from utils.untrusted.text import safe_name

FORMAT_VERSION = 1
FILE_NAME = "dataset.json"
SPLITS = ("training", "testing")
KINDS = ("video", "frames")


@dataclass(frozen=True)
class VideoEntry:
    """One video of a data set.

    Attributes:
        name: unique within its split; names the files made from it.
        split: ``training`` or ``testing``.
        source: absolute path of a video file or of a folder of images.
        kind: ``video`` (a file) or ``frames`` (a folder of images).
        start: first frame of the source that belongs to the video, 0-based.
        stop: one past the last frame.
        width: frame width in pixels, as frames are read.
        height: frame height in pixels.
        native_size: width and height in the source where frames are made smaller when they are
            read; ``None``: they are read as they are.
    """

    name: str
    split: str
    source: Path
    kind: str
    start: int
    stop: int
    width: int
    height: int
    native_size: tuple[int, int] | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


@dataclass(frozen=True)
class DataSet:
    """A data set's folder, name and videos.

    Attributes:
        max_side: pixels of the longer side that larger frames are made smaller to when they are
            read; 0: none are.
    """

    root: Path
    name: str
    entries: tuple[VideoEntry, ...]
    max_side: int = 0

    def videos(self, split: str) -> list[VideoEntry]:
        """The videos of a split, sorted by name in natural order (2 before 10)."""
        chosen = [entry for entry in self.entries if entry.split == split]
        return sorted(chosen, key=lambda entry: natural_key(entry.name))


def with_max_side(dataset: DataSet, max_side: int) -> DataSet:
    """The same data set with frames of at most so many pixels on the longer side; 0: of any."""
    entries = tuple(_sized(entry, max_side) for entry in dataset.entries)
    return replace(dataset, entries=entries, max_side=max_side)


def limited_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size of a picture that is made smaller, if it has to be; 0: it has not."""
    scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
    return max(2, round(scale * width)), max(2, round(scale * height))


def _sized(entry: VideoEntry, max_side: int) -> VideoEntry:
    native = entry.native_size or (entry.width, entry.height)
    width, height = limited_size(*native, max_side)
    is_native = (width, height) == native
    return replace(entry, width=width, height=height, native_size=None if is_native else native)


def natural_key(name: str) -> tuple:
    """Sort key under which numbers inside names count as numbers: ``v2`` before ``v10``."""
    parts = re.split(r"([0-9]+)", name)
    # Numbers by length and digits: Python refuses to make an integer of thousands of them.
    numbers = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    return tuple(numbers.pop(0) if index % 2 else part for index, part in enumerate(parts)), name


def load_dataset(root: str | Path) -> DataSet:
    """Read ``dataset.json`` from a data set's folder.

    Raises:
        UserError: no such file, not JSON, another format version, or an entry that is not whole.
    """
    root = Path(root).absolute()
    path = root / FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; run pre_process/prepare_dataset.py --name {root.name} "
            "--source FOLDER first"
        )
    tree = read_json(path)
    version = tree.get("format_version") if isinstance(tree, dict) else None
    remedy = "write the data set again with pre_process/prepare_dataset.py"
    require_format(version, FORMAT_VERSION, path, remedy)
    videos, max_side = tree.get("videos"), tree.get("max_side", 0)
    if not isinstance(videos, list) or not isinstance(tree.get("name"), str):
        raise UserError(f"{path}: must hold 'name' and a list 'videos'; prepare the data set again")
    if type(max_side) is not int or max_side < 0:
        raise UserError(f"{path}: 'max_side' must be a number of pixels, 0 or more")
    entries = tuple(_read_entry(video, root, path) for video in videos)
    _require_unique_names(entries, path)
    return with_max_side(DataSet(root, tree["name"], entries), max_side)


def save_dataset(dataset: DataSet) -> None:
    """Write ``dataset.json`` atomically; sources inside the root are written relative to it."""
    _require_unique_names(dataset.entries, dataset.root)
    videos = [_entry_as_json(entry, dataset.root.absolute()) for entry in dataset.entries]
    sized = {"max_side": dataset.max_side} if dataset.max_side else {}
    tree = {"format_version": FORMAT_VERSION, "name": dataset.name, **sized, "videos": videos}
    write_json(dataset.root / FILE_NAME, tree)


def _entry_as_json(entry: VideoEntry, root: Path) -> dict[str, Any]:
    source = entry.source
    if source.is_relative_to(root):
        source = source.relative_to(root)
    width, height = entry.native_size or (entry.width, entry.height)
    return {
        "name": entry.name,
        "split": entry.split,
        "source": source.as_posix(),
        "kind": entry.kind,
        "start": entry.start,
        "stop": entry.stop,
        "width": width,
        "height": height,
    }


def _read_entry(video: Any, root: Path, path: Path) -> VideoEntry:
    numbers = ("start", "stop", "width", "height")
    name = video.get("name") if isinstance(video, dict) else None
    whole = (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not set(name) & set("/\\\0")
        and name == safe_name(name)
        and isinstance(video.get("source"), str)
        and video.get("split") in SPLITS
        and video.get("kind") in KINDS
        and all(type(video.get(key)) is int for key in numbers)
        and 0 <= video["start"] < video["stop"]
        and min(video["width"], video["height"]) > 0
    )
    if not whole:
        raise UserError(
            f"{path}: video {name!r} is not whole: it needs name, split {SPLITS}, source, "
            f"kind {KINDS}, 0 <= start < stop, width and height; prepare the data set again"
        )
    fields = {key: video[key] for key in ("split", "kind", *numbers)}
    return VideoEntry(name=str(name), source=root / video["source"], **fields)


def _require_unique_names(entries: tuple[VideoEntry, ...], path: Path) -> None:
    counts = Counter((entry.split, entry.name) for entry in entries)
    doubled = [f"{split} {name}" for (split, name), count in counts.items() if count > 1]
    if doubled:
        raise UserError(f"{path}: the same video name twice: {', '.join(doubled)}; rename one")
