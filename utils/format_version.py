"""Format versions of what is kept on disk: read, or refused with what to do."""

from __future__ import annotations

from typing import Any

from utils.errors import UserError


def require_format(found: Any, current: int, where: object, remedy: str) -> None:
    """Admit only the format that this code writes.

    Args:
        found: ``format_version`` as read.
        current: the version that this code reads and writes.
        where: the file, for the message.
        remedy: what to do with an older or nameless one.

    Raises:
        UserError: newer (both versions are named), older, or no version at all.
    """
    if type(found) is int and found == current:
        return
    if type(found) is int and found > current:
        raise UserError(
            f"{where}: format version {found} of newer code, this code reads format version "
            f"{current}; update this code, or use the code that wrote the file"
        )
    raise UserError(f"{where}: format version {found!r}, this code reads {current}; {remedy}")
