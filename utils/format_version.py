"""Format versions of what is kept on disk: read, or refused with what to do."""

from __future__ import annotations

from typing import Any

from utils.errors import UserError


def require_format(version: Any, current: int, where: object, remedy: str) -> None:
    """Admit only the format that this code writes.

    Args:
        version: ``format_version`` as read.
        current: the version that this code reads and writes.
        where: the file, for the message.
        remedy: what to do with an older or nameless one.

    Raises:
        UserError: newer (both versions are named), older, or no version at all.
    """
    if type(version) is int and version == current:
        return
    if type(version) is int and version > current:
        raise UserError(
            f"{where}: format version {version} of newer code, this code reads format version "
            f"{current}; update this code, or use the code that wrote the file"
        )
    raise UserError(f"{where}: format version {version!r}, this code reads {current}; {remedy}")
