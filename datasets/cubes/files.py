"""One video's cubes on disk: four arrays and ``manifest.json`` in one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from utils.errors import UserError
from utils.files import DAMAGED_ARRAY, atomic_folder, digest, read_json, sha256_file, write_json
from utils.format_version import require_format
from utils.npy_writer import NpyWriter

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CUBE_SIZE = 32
NUM_FRAMES = 5
NUM_FLOWS = 4
# name -> (shape of one cube's part, element type)
LAYOUT: dict[str, tuple[tuple[int, ...], str]] = {
    "appearance": ((NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 3), "|u1"),
    "motion": ((NUM_FLOWS, CUBE_SIZE, CUBE_SIZE, 2), "<f2"),
    "boxes": ((4,), "<f4"),
    "frames": ((), "<i4"),
}
BYTES_PER_CUBE = sum(
    int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in LAYOUT.values()
)


@dataclass(frozen=True)
class StoredArray:
    """Where the rows of a ``.npy`` file start, how many there are and of what."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class CubeWriter:
    """Appends the cubes of one video, frame by frame; made by ``write_cubes``."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._arrays = {
            name: stack.enter_context(NpyWriter(folder / f"{name}.npy", shape, kind))
            for name, (shape, kind) in LAYOUT.items()
        }

    @property
    def num_cubes(self) -> int:
        """How many cubes were written."""
        return self._arrays["frames"].num_rows

    def append(
        self, frame: int, boxes: np.ndarray, appearance: np.ndarray, motion: np.ndarray
    ) -> None:
        """Add the n cubes of one frame.

        Args:
            frame: index of the frame in the video.
            boxes: (n,4) x1, y1, x2, y2 in pixels.
            appearance: (n,5,32,32,3) uint8 BGR, frames i-4..i.
            motion: (n,4,32,32,2) float16 pixels, flows i-3..i.
        """
        self._arrays["appearance"].append(appearance)
        self._arrays["motion"].append(motion)
        self._arrays["boxes"].append(boxes)
        self._arrays["frames"].append(np.full(len(boxes), frame, np.int32))


@contextlib.contextmanager
def write_cubes(folder: Path, description: dict[str, Any]) -> Iterator[CubeWriter]:
    """Write one video's cubes; the folder appears when all is written, or not at all.

    Args:
        folder: ``data/NAME/cubes/SPLIT/VIDEO``.
        description: what the manifest says besides counts and checksums: ``video``, ``split``,
            ``num_frames``, ``width``, ``height``, ``settings`` and what else the caller has.
    """
    with atomic_folder(folder) as temporary:
        with contextlib.ExitStack() as stack:
            writer = CubeWriter(temporary, stack)
            yield writer
        manifest = {
            "format_version": FORMAT_VERSION,
            **description,
            "num_cubes": writer.num_cubes,
            "settings_hash": digest(description["settings"]),
            "checksums": {f"{name}.npy": sha256_file(temporary / f"{name}.npy") for name in LAYOUT},
        }
        write_json(temporary / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a video's cubes, or ``None`` when the video was not extracted.

    Raises:
        UserError: the manifest is not readable or of another format version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path)
    keys = {"num_cubes", "num_frames", "width", "height", "settings", "settings_hash", "checksums"}
    if not isinstance(manifest, dict):
        _refuse(path, "not a manifest")
    version = manifest.get("format_version")
    remedy = f"remove {folder} and run pre_process/extract_samples.py again"
    require_format(version, FORMAT_VERSION, path, remedy)
    if not keys <= set(manifest):
        missing = ", ".join(sorted(keys - set(manifest)))
        raise UserError(f"{path}: not a whole manifest, it lacks {missing}; {remedy}")
    return manifest


def locate_array(folder: Path, name: str, num_cubes: int) -> StoredArray:
    """Find the rows of one of a video's arrays and check that all of them are there.

    Raises:
        UserError: missing, truncated or of another shape than the manifest tells.
    """
    path = Path(folder) / f"{name}.npy"
    row_shape, kind = LAYOUT[name]
    expected = (num_cubes, *row_shape)
    try:
        with path.open("rb") as handle:
            version = np.lib.format.read_magic(handle)
            if version != (1, 0):
                raise ValueError(f"version {version}")
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(handle)
            offset = handle.tell()
    except DAMAGED_ARRAY as error:
        _refuse(path, f"not readable ({error})")
    if shape != expected or dtype != np.dtype(kind) or fortran_order:
        _refuse(path, f"holds {shape} {dtype}, the manifest tells {expected} {np.dtype(kind)}")
    size = offset + int(np.prod(shape)) * dtype.itemsize
    if path.stat().st_size != size:
        _refuse(path, f"has {path.stat().st_size} bytes instead of {size}")
    return StoredArray(path, offset, shape, dtype)


def verify_checksums(folder: Path, manifest: dict[str, Any]) -> None:
    """Compare every array's bytes with the manifest (reads all of them).

    Raises:
        UserError: naming the first file that differs.
    """
    for name in LAYOUT:
        path = Path(folder) / f"{name}.npy"
        locate_array(folder, name, manifest["num_cubes"])
        if sha256_file(path) != manifest["checksums"].get(f"{name}.npy"):
            _refuse(path, "its checksum differs from the manifest's")


def _refuse(path: Path, fault: str) -> NoReturn:
    raise UserError(
        f"{path}: damaged cubes: {fault}; remove the folder {path.parent} and run "
        "pre_process/extract_samples.py again"
    ) from None
