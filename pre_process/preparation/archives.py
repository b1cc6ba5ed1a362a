"""Unpack the official archives (zip, tar, tar.gz, ...) into a folder, and nowhere else."""

from __future__ import annotations

import errno
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.errors import UserError
from utils.files import atomic_folder, require_free_space, sha256_file
from utils.run_folder import sole_writer
from utils.untrusted.text import printable

# zipfile and tarfile let the errors of many parts through: bad numbers, names, methods, passwords.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One file in an archive: its name, size in bytes, and how to open it."""

    name: str
    size: int
    open: Callable[[], Any]


def is_archive(path: Path) -> bool:
    """Whether a path is an archive that can be unpacked."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def unpack(archive: Path, parent: Path) -> Path:
    """Unpack an archive into a folder of its name and content in ``parent``; reuse that folder.

    Another archive of the same name, or the same one with other content, has another folder.

    Raises:
        UserError: damaged archive, a member that would land outside the folder or is no plain
            file (then nothing is left behind), or too little disk.
    """
    folder = parent / f"{archive.name.split('.')[0]}-{sha256_file(archive)[:12]}"
    if folder.is_dir():
        return folder
    try:
        with _open(archive) as opened:
            members = list(_members(opened, archive))
            require_free_space(parent, sum(member.size for member in members), "unpacking")
            # What a killed run unpacked in part is removed: archives are large.
            with sole_writer(parent, "wait for it"), atomic_folder(folder) as temporary:
                for member in tqdm(members, desc=f"unpack {printable(archive.name)}", unit="file"):
                    _extract(member, temporary, archive)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        raise UserError(f"{archive}: damaged archive ({error}); fetch it again") from None
    except _DAMAGED as error:
        raise UserError(f"{archive}: damaged archive ({error}); fetch it again") from None
    return folder


def _open(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    return tarfile.open(archive)


def _members(opened: zipfile.ZipFile | tarfile.TarFile, archive: Path) -> Iterator[Member]:
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size, partial(opened.open, info))
        return
    for entry in opened:
        if entry.isfile():
            yield Member(entry.name, entry.size, partial(opened.extractfile, entry))
        elif not entry.isdir():
            raise UserError(f"{archive}: member {entry.name!r} is a link or device; refused")


def _extract(member: Member, folder: Path, archive: Path) -> None:
    target = folder / member.name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{archive}: member {member.name!r} points outside the folder; refused")
    target.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
