"""Which file labels come from, for the protocol beside every number."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

from utils.files import digest, sha256_file


def describe_labels(path: str | Path) -> str:
    """Name and short SHA-256 of a label file, and of the one that it was made from, if it says so.

    A folder is described by a digest over its labels.
    """
    path = Path(path)
    if path.is_dir():
        masks = sorted(path.glob("*_gt/*"))
        files = masks or sorted(file for file in path.iterdir() if file.is_file())
        each = [(file.relative_to(path).as_posix(), sha256_file(file)) for file in files]
        return f"{path.name} (digest {digest(each)[:12]})"
    description = f"{path.name} (SHA-256 {sha256_file(path)[:12]})"
    return description + (f", made from {source}" if (source := _read_source(path)) else "")


def write_source(path: Path, source: str | Path) -> None:
    """Note in an ``.npz`` what it was made from: as the comment of the archive."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = describe_labels(source).encode()


def _read_source(path: Path) -> str:
    if path.suffix == ".npz":
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return archive.comment.decode("utf-8", errors="replace")
    return ""
