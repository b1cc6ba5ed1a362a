"""Files that are whole or not there: temporary name, then rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.errors import UserError

# What NumPy raises on damaged .npy and .npz files: the header is parsed as Python.
DAMAGED_ARRAY = (
    ValueError, EOFError, OSError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
    MemoryError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip
# Names of what is being written, and in it the name that it will have: .last.123.part.pth.
HALF_WRITTEN = re.compile(r"^\.(.+?)(?:\.\d+|\.[0-9a-f]{16})?\.part(\.\w+)?$")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Have the error of a write that found no space tell which file it was.

    Raises:
        UserError: NumPy wrote a part of an array, which it tells without the system's reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and "requested and" in str(error):
            raise UserError(
                f"{target}: not written whole ({error}); most often the disk is full: free some "
                "space and run the same command again"
            ) from None
        if error.errno in _NO_SPACE and error.filename is None:
            error.filename = str(target)
        raise


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` and rename it over ``target`` on success.

    The temporary name keeps the suffix (writers such as ``np.save`` look at it). On any error the
    temporary file is removed and ``target`` stays as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        with naming(target):
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def part_folder(folder: Path, name: str) -> Iterator[Path]:
    """Yield a new hidden folder in ``folder`` for half-written files; it is removed at the end."""
    path = Path(folder) / f".{name}.{secrets.token_hex(8)}.part"
    try:  # the folder is made inside: a signal can end the program at any statement
        path.mkdir(parents=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that becomes ``target`` on success."""
    target = Path(target)
    with part_folder(target.parent, target.name) as temporary, naming(target):
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)


def remove_parts(folder: Path) -> None:
    """Remove what killed runs left half-written in ``folder``; the caller is its only writer.

    Only the names that this project gives: other programs' partial files stay.
    """
    for path in Path(folder).glob(".*.part*"):
        if HALF_WRITTEN.match(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (``ValueError``)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    path = Path(path)
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for a JSON file; write it again") from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        reason = str(error).partition(";")[0]
        raise UserError(f"{path}: not a JSON file ({reason}); write it again") from None


def require_file(path: Path) -> None:
    """Refuse a pipe or device, which might never end.

    Raises:
        UserError: it is there, and neither a file nor a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: a pipe or device, not a file; name a file")


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Short stable hash (16 hex digits) of anything JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_free_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise ``UserError`` when ``folder``'s disk has less than ``needed_bytes`` left."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise UserError(
            f"{folder}: {what} needs about {needed_bytes / 2**20:.0f} MiB, "
            f"{free / 2**20:.0f} MiB are free; free some space or choose another folder"
        )


def require_new(targets: Iterable[Path], overwrite: bool) -> None:
    """Refuse to write where something is.

    Raises:
        UserError: a file is there, or a folder that is not empty, and ``overwrite`` is false.
    """
    for path in () if overwrite else targets:
        if any(path.iterdir()) if path.is_dir() else path.exists():
            what = "holds files already" if path.is_dir() else "is there already"
            raise UserError(f"{path}: {what}; pass --overwrite to replace it, or another --output")


def require_elsewhere(sources: Iterable[Path], targets: Sequence[Path]) -> None:
    """Refuse sources that lie in folders which are replaced.

    Raises:
        UserError: naming the first.
    """
    for source in sources:
        for target in targets:
            if source.resolve().is_relative_to(target.resolve()):
                raise UserError(f"{source}: lies in {target}, which is replaced; move it elsewhere")
