"""A file of Python's that ends its process in the middle of a write."""

from __future__ import annotations

import builtins
import io
import os
import signal
from typing import Any

from tests.robustness.harness.changes import final_name, kind


class _Torn(io.FileIO):
    """Kills this process group once it is ``length`` bytes long; what was written stays."""

    length = 0

    def write(self, data: Any) -> int:
        left = self.length - os.fstat(self.fileno()).st_size
        if len(data) <= left:
            return super().write(data)
        super().write(bytes(data)[: max(0, left)])
        os.killpg(0, signal.SIGKILL)
        return 0


def tear(name: str, length: int) -> None:
    """From now on, a file of this kind (``changes.kind``) ends the process at that length.

    Only what is written by Python's own files: tables, JSON, pages, logs, plots, archives.
    """
    ordinary = io.open

    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, *more: Any, **others: Any,
    ) -> Any:  # fmt: skip
        writes = not isinstance(file, int) and set(mode) & set("wax")
        if not writes or not f"/{kind(final_name(os.fsdecode(file)))}".endswith(f"/{name}"):
            return ordinary(file, mode, buffering, encoding, errors, newline, *more, **others)
        raw = _Torn(file, mode.replace("b", "").replace("t", ""))
        raw.length = length
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)

    io.open = builtins.open = opened  # type: ignore
