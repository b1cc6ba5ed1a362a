"""The published chunk files (``chunked_samples_NN.pkl``), read row by row from disk.

A chunk holds thousands of cubes of 56 kB in one uncompressed joblib file. Only its index is kept
in memory; pictures and flows are mapped, and the pages of a batch are given back once it is copied,
so that memory does not grow with what was read.
"""

from __future__ import annotations

import itertools
import lzma
import mmap
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from datasets.cubes.files import CUBE_SIZE, LAYOUT, NUM_FLOWS, NUM_FRAMES
from utils.errors import UserError
from utils.files import digest
from utils.safe_pickle import load_joblib
from utils.untrusted.decompress import inflate, open_maybe_compressed

_ROW_SHAPES = {
    "appearance": (NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 3),
    "motion": (NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 2),
    "bbox": (4,),
    "pred_frame": (1,),
}


@dataclass(frozen=True)
class Chunk:
    """One chunk file: ``appearance`` (n,5,32,32,3) uint8 and ``motion`` (n,5,32,32,2) float on
    disk, ``boxes`` (n,4) float32 and ``frames`` (n,) int64 (frame in all videos joined)."""

    path: Path
    appearance: np.ndarray
    motion: np.ndarray
    boxes: np.ndarray
    frames: np.ndarray


class ChunkSet:
    """All cubes of a split's chunk files, in the order of the files, as ``CubeSet`` gives them.

    Made by ``ChunkSet.open``.

    Attributes:
        videos: names of the videos.
        num_frames: frames of each video.
        video_index: (n,) int32, index into ``videos``.
        frames: (n,) int32, frame index in the video.
        boxes: (n,4) float32, x1, y1, x2, y2 in pixels.
        fingerprint: changes when a chunk file does.
    """

    def __init__(self, chunks: list[Chunk], num_frames: dict[str, int]) -> None:
        self._chunks = chunks
        self._starts = np.concatenate([[0], np.cumsum([len(chunk.frames) for chunk in chunks])])
        self.videos, self.num_frames = list(num_frames), dict(num_frames)
        ends = np.cumsum(list(num_frames.values()))
        joined = np.concatenate([chunk.frames for chunk in chunks])
        self.video_index = np.searchsorted(ends, joined, side="right").astype(np.int32)
        self.frames = (joined - np.concatenate([[0], ends])[self.video_index]).astype(np.int32)
        self.boxes = np.concatenate([chunk.boxes for chunk in chunks])
        states = [(chunk.path, chunk.path.stat()) for chunk in chunks]
        self.fingerprint = digest(
            [[path.name, state.st_size, state.st_mtime_ns] for path, state in states]
        )

    @classmethod
    def open(
        cls, root: str | Path, split: str, num_frames: dict[str, int] | None = None
    ) -> ChunkSet:
        """Open ``ROOT/SPLIT/chunked_samples/chunked_samples_NN.pkl``, every one of them.

        Args:
            root: the published data set's folder.
            split: ``training`` or ``testing``.
            num_frames: video name -> frames, in the order in which the videos were joined;
                ``None`` when it does not matter (training): all is one video then.

        Raises:
            UserError: no chunks or one missing, a file that is cut short, damaged or no chunk,
                frames that do not fit the lengths of the videos.
        """
        chunks = [open_chunk(path) for path in find_chunks(Path(root) / split / "chunked_samples")]
        last = max(int(chunk.frames.max()) for chunk in chunks)
        if num_frames is None:
            num_frames = {split: last + 1}
        _require_fitting(chunks[0].path.parent, last, num_frames)
        return cls(chunks, num_frames)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read cubes; runs of successive indices are read in one go.

        Args:
            indices: (B,) integers in [0, len).

        Returns:
            appearance (B,5,32,32,3) uint8 BGR and motion (B,4,32,32,2) float32 pixels (the first
            of the five flows of a published cube has no use and is left out).
        """
        indices = np.asarray(indices, np.int64)
        appearance = np.empty((len(indices), *LAYOUT["appearance"][0]), np.uint8)
        motion = np.empty((len(indices), *LAYOUT["motion"][0]), np.float32)
        for place, chunk, first, count in self._runs(indices):
            into = slice(place, place + count)
            appearance[into] = _read_rows(chunk.appearance, first, count)
            motion[into] = _read_rows(chunk.motion, first, count)[:, -NUM_FLOWS:]
        return appearance, motion

    def _runs(self, indices: np.ndarray) -> Iterator[tuple[int, Chunk, int, int]]:
        """Stretches of successive rows of one chunk: place in the batch, chunk, row, count."""
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        breaks = (np.diff(indices) != 1) | (np.diff(owners) != 0)
        edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(indices)]
        for place, stop in itertools.pairwise(edges):
            if stop > place:
                owner = int(owners[place])
                first = int(indices[place] - self._starts[owner])
                yield place, self._chunks[owner], first, stop - place


def find_chunks(folder: Path) -> list[Path]:
    """Chunk files of a folder in the order of their numbers.

    Raises:
        UserError: there are none, or a number is missing.
    """
    named = {
        int(match[1]): path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if (match := re.fullmatch(r"chunked_samples_(\d+)\.pkl", path.name))
    }
    if not named:
        raise UserError(
            f"{folder}: no chunked_samples_NN.pkl there; put the published chunk files into it, "
            "or check dataset_base_dir and dataset_name in the configuration"
        )
    missing = sorted(set(range(max(named) + 1)) - set(named))
    if missing:
        raise UserError(
            f"{folder}: chunk {missing[0]:02d} of {max(named):02d} is missing; fetch it"
        )
    return [named[number] for number in sorted(named)]


def open_chunk(path: Path) -> Chunk:
    """Open a chunk file; its pictures and flows stay on disk.

    Raises:
        UserError: cut short, damaged, holding anything but arrays, or not a chunk.
    """
    with path.open("rb") as handle:
        is_plain = open_maybe_compressed(handle) is handle
    content = load_joblib(path, memory_map=True) if is_plain else _load_compressed(path)
    if not isinstance(content, dict) or not set(_ROW_SHAPES) <= set(content):
        raise UserError(
            f"{path}: not a chunk of samples; it must hold a dict with {', '.join(_ROW_SHAPES)}"
        )
    arrays = {name: content[name] for name in _ROW_SHAPES}
    _require_shapes(path, arrays)
    return Chunk(
        path=path,
        appearance=arrays["appearance"],
        motion=arrays["motion"],
        boxes=np.array(arrays["bbox"], np.float32),
        frames=np.array(arrays["pred_frame"], np.int64).reshape(-1),
    )


def _load_compressed(path: Path) -> Any:
    """Inflate into a passing file on disk first: the arrays need not fit into memory.

    On POSIX the maps outlive the name of their file; the space is freed with the last of them.
    """
    with tempfile.NamedTemporaryFile(suffix=".pkl") as plain:
        try:
            with path.open("rb") as handle:
                most = 2**26 + 100 * path.stat().st_size  # what pictures and flows shrink to
                inflate(open_maybe_compressed(handle), plain, most)
        except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            _refuse_damaged(path, error)
        except OSError as error:
            if error.errno is not None:  # the disk's fault; without a number the stream's
                raise
            _refuse_damaged(path, error)
        plain.flush()
        return load_joblib(plain.name, memory_map=True)


def _refuse_damaged(path: Path, error: Exception) -> NoReturn:
    raise UserError(f"{path}: cut short or damaged ({error}); fetch it again") from None


def _require_shapes(path: Path, arrays: dict[str, Any]) -> None:
    """Refuse arrays that are not those of the same number of cubes."""
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise UserError(f"{path}: not a chunk of samples: {', '.join(arrays)} must be arrays")
    count = len(arrays["pred_frame"]) if arrays["pred_frame"].ndim else 0
    if count == 0 or arrays["pred_frame"].min() < 0:
        raise UserError(f"{path}: holds no sample, or one of a frame below 0; fetch it again")
    for name, row_shape in _ROW_SHAPES.items():
        actual = arrays[name].shape
        if actual != (count, *row_shape) and not (name == "pred_frame" and actual == (count,)):
            raise UserError(
                f"{path}: {name} has shape {actual}; {(count, *row_shape)} is needed "
                "(channel-last, five frames and five flows a sample)"
            )
    kinds = {name: array.dtype for name, array in arrays.items()}
    if kinds["appearance"] != np.uint8 or kinds["motion"].kind != "f":
        raise UserError(
            f"{path}: appearance is {kinds['appearance']} and motion {kinds['motion']}; "
            "uint8 and a float type are needed"
        )


def _require_fitting(folder: Path, last: int, num_frames: dict[str, int]) -> None:
    """The last cube must lie in the last video, or labels and chunks are of different sets."""
    total = sum(num_frames.values())
    start_of_last = total - list(num_frames.values())[-1]
    if not start_of_last <= last < total:
        raise UserError(
            f"{folder}: the labels tell {len(num_frames)} videos of {total} frames in all, the "
            f"last from frame {start_of_last} on, but the last frame with a sample is {last}; "
            "labels and chunks are not of the same data set"
        )


def _read_rows(array: np.ndarray, first: int, count: int) -> np.ndarray:
    """Copy rows of a mapped array and let its pages go: they count as this process's memory."""
    rows = np.array(array[first : first + count])
    pages = getattr(array, "_mmap", None)
    if pages is not None:
        pages.madvise(mmap.MADV_DONTNEED)
    return rows
