"""Who works on what, told by files in a folder that all workers see, on one machine or many.

A claim is made by creating a file, which succeeds for one worker only, on network folders, too.
While it works, the worker writes a growing number into the file. A claim whose number stands still
(or whose process is gone, where that can be seen) was left by a killed worker, and others take it.
Should two ever work on the same thing, after a machine slept, both results are whole and equal.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from pathlib import Path

BEAT_SECONDS = 10.0
PATIENCE_SECONDS = 90.0
_NAMELESS_SECONDS = 5.0  # of an empty claim: who makes one writes into it at once
_SETTLE_SECONDS = 0.3


class Claim:
    """A claim that this worker holds; leaving the ``with`` block gives it back."""

    def __init__(self, path: Path, token: str, beat: float) -> None:
        self._path, self._token, self._beat = path, token, beat
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Claim:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self.is_held():
            self._path.unlink(missing_ok=True)
        _remove_if_empty(self._path.parent)

    def is_held(self) -> bool:
        """False when others thought this worker dead and took over."""
        return self._token in (_read(self._path) or "")

    def _keep_beating(self) -> None:
        number = 0
        while not self._done.wait(self._beat):
            number += 1
            with contextlib.suppress(OSError):  # a network folder may be away for a moment
                if not self.is_held():
                    return
                descriptor = os.open(self._path, os.O_WRONLY)
                with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                    handle.write(_content(self._token, number))


class Claims:
    """The claims of one folder, as one worker sees them.

    Args:
        folder: where they lie; it is made, and removed when empty.
        beat: seconds between a held claim's signs of life.
        patience: seconds without any after which a claim is taken over.
    """

    def __init__(
        self, folder: Path, beat: float = BEAT_SECONDS, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._folder, self._beat, self._patience = Path(folder), beat, patience
        self._seen: dict[str, tuple[str, float]] = {}  # contents, and since when by our clock

    def take(self, name: str) -> Claim | None:
        """Claim ``name``; ``None`` while another worker holds it."""
        path, token = self._folder / name, secrets.token_hex(8)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return self._take_over(path, token) if self._is_left(name) else None
        except FileNotFoundError:  # another worker removed the empty folder just now
            return None
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(_content(token, 0))
        except OSError:  # the disk is full
            path.unlink(missing_ok=True)
            raise
        return Claim(path, token, self._beat)

    def _take_over(self, path: Path, token: str) -> Claim | None:
        """Replace a left claim; of several who do so at once the last one has it."""
        own = path.with_name(f".{path.name}.{token}")
        own.write_text(_content(token, 0), encoding="utf-8")
        own.replace(path)
        time.sleep(_SETTLE_SECONDS)
        claim = Claim(path, token, self._beat)
        return claim if claim.is_held() else None

    def _is_left(self, name: str) -> bool:
        content = _read(self._folder / name)
        if content is None:  # given back just now; ask again
            return False
        if name not in self._seen or self._seen[name][0] != content:
            self._seen[name] = content, time.monotonic()
        machine, process = _owner(content)
        if machine == _this_machine() and not _is_running(process):
            return True
        patience = self._patience if machine else min(self._patience, _NAMELESS_SECONDS)
        return time.monotonic() - self._seen[name][1] > patience


def is_held_by(path: Path, process: int) -> bool:
    """Whether the claim at ``path`` is of this process of this machine, running or not."""
    return _owner(_read(path) or "") == (_this_machine(), process)


def _this_machine() -> str:
    """Names what process numbers mean the same on."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        numbers = boot = ""
    return f"{platform.node()} {boot} {numbers}"


def _content(token: str, number: int) -> str:
    fields = {"machine": _this_machine(), "process": os.getpid(), "token": token, "beat": number}
    return json.dumps(fields) + "\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _owner(content: str) -> tuple[str, int]:
    try:
        fields = json.loads(content)
        return str(fields["machine"]), int(fields["process"])
    except (ValueError, KeyError, TypeError):
        return "", 0  # just being written


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
