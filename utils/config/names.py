"""Names in a configuration that become folders: they must not lead out of where they belong."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator


def plain_name(name: str) -> str:
    """Admit a name that is one folder's: letters, digits, ``_``, ``-`` and ``.``.

    Raises:
        ValueError: anything else, also ``.`` and ``..``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in (".", ".."):
        raise ValueError(
            "a plain name is needed (letters, digits, '_', '-', '.'), not a path; "
            "where the data set lies is said by data.root"
        )
    return name


def name_inside(name: str) -> str:
    """Admit a name, also of several folders (``ped2/seed1``), that stays below its root.

    Raises:
        ValueError: an absolute path, or one with ``.`` or ``..`` in it.
    """
    windows = PureWindowsPath(name)  # it knows both kinds of separators, and drives
    is_absolute = windows.is_absolute() or windows.drive or PurePosixPath(name).is_absolute()
    steps = set(re.split(r"[/\\]", name)) if name else set()
    if is_absolute or steps & {"", ".", ".."} or "\0" in name:
        raise ValueError(
            "must stay inside run.root: a name, or names with '/' between them; "
            "to write elsewhere set run.root"
        )
    return name


PlainName = Annotated[str, AfterValidator(plain_name)]
NameInside = Annotated[str, AfterValidator(name_inside)]
