"""Files that stand for far more than they hold: shared lists, compressed arrays, cut pictures."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.file_kind import zip_names

_FREE = 20_000_000  # parts that any tree may stand for
_PNG = b"\x89PNG\r\n\x1a\n"
_FACTOR = 4  # beyond them: so often as many as are stored


def require_tree(value: Any) -> Any:
    """Give back containers of values, unless some are shared so often that copying is hopeless.

    A list of ten times the same list of ten times the same list ... is a small file; as an array
    it fills any memory.

    Raises:
        ValueError: it holds itself, or stands for far more parts than it has.
    """
    whole: dict[int, int] = {}  # container -> parts that it stands for
    held, pending = [], [(value, False)]
    stored, opened = 0, set()
    arrays: dict[int, int] = {}
    while pending:
        part, is_counted = pending.pop()
        children = _children(part)
        if children is None or (id(part) in whole and not is_counted):
            continue
        if is_counted:
            opened.discard(id(part))
            whole[id(part)] = 1 + sum(_size(each, whole) for each in children)
            stored += 1 + len(children)
            arrays |= {id(each): each.size for each in children if isinstance(each, np.ndarray)}
            continue
        if id(part) in opened:
            raise ValueError("a container that holds itself")
        opened.add(id(part))
        held.append(part)
        pending.append((part, True))
        pending += [(each, False) for each in children]
    stored += sum(arrays.values())
    if whole.get(id(value), 1) > _FREE + _FACTOR * stored:
        raise ValueError("containers that are shared so often that no memory holds them all")
    return value


def _children(part: Any) -> list[Any] | None:
    if isinstance(part, dict):
        return [*part, *part.values()]
    return list(part) if isinstance(part, list | tuple | set | frozenset) else None


def _size(part: Any, whole: dict[int, int]) -> int:
    if isinstance(part, np.ndarray):
        return part.size
    return whole.get(id(part), 1)


def require_small_npz(path: str | Path, most: int = 2**28) -> None:
    """Refuse an ``.npz`` whose arrays are together larger than ``most`` bytes, before reading it.

    Raises:
        UserError: it unpacks to more.
    """
    path = Path(path)
    if not path.is_file() or not zip_names(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > most:
        raise UserError(
            f"{path}: unpacks to {unpacked / 2**20:.0f} MiB, where {most / 2**20:.0f} MiB are the "
            "most that can be right; write it again"
        )


def is_cut_png(data: bytes) -> bool:
    """Whether it is a PNG picture with a chunk longer than the file.

    OpenCV makes room for what a chunk declares before it looks: 209 bytes took 2.8 GiB.
    """
    place = len(_PNG)
    if data[:place] != _PNG:
        return False
    while (kind := data[place + 4 : place + 8]) != b"IEND":
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if not kind or place > len(data):
            return True
    return False
