"""Run a script's ``main`` in a fork of this process, which has the libraries loaded, and kill it.

A fork starts in milliseconds where a fresh Python needs seconds to import torch. The parent must
not have run a backward pass: torch's gradient threads do not survive a fork.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 180.0  # seconds; a run that takes longer hangs
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


@dataclass(frozen=True)
class Kill:
    """When to kill a run, or to fill its disk; one of the first four is set.

    Attributes:
        after_seconds: SIGKILL from outside, this long after the start.
        at_operation: SIGKILL at the n-th change of a file (opened for writing, renamed, removed).
        at_byte: the system ends the process in the middle of the write that makes a file longer.
        full_at_byte: no kill: writes that make a file longer fail, as those on a full disk do.
        delay: seconds from the operation to the kill.
    """

    after_seconds: float | None = None
    at_operation: int | None = None
    at_byte: int | None = None
    full_at_byte: int | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code (negative: the signal), seconds, changes of files it made."""

    code: int
    seconds: float
    operations: int


def run(
    main: Callable[..., None], argv: Sequence[str], log: Path, kill: Kill | None = None
) -> Outcome:
    """Run ``main(argv)`` in a fork; what it prints is appended to ``log``.

    Raises:
        TimeoutError: it hung; it was killed.
    """
    reading, writing = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(main, argv, log, kill, writing)
    os.close(writing)
    code = _wait(child, begun, kill.after_seconds if kill else None)
    told = os.read(reading, 64)
    os.close(reading)
    return Outcome(code, time.monotonic() - begun, int(told or b"0"))


def _wait(child: int, begun: float, kill_after: float | None) -> int:
    """Wait for the end of the child and kill its whole group on the way."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        spent = time.monotonic() - begun
        if spent > TIMEOUT or (kill_after is not None and spent >= kill_after):
            _kill_group(child)
            os.waitpid(child, 0)
            if spent > TIMEOUT:
                raise TimeoutError(f"still running after {TIMEOUT:.0f} s")
            return -signal.SIGKILL
        time.sleep(0.002)


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet
        os.kill(child, signal.SIGKILL)


def _run_child(
    main: Callable[..., None], argv: Sequence[str], log: Path, kill: Kill | None, pipe: int
) -> None:
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    changes = _count_changes(kill)
    if kill is not None and kill.at_byte is not None:
        # Python ignores this signal and would raise an error; left alone it ends the process
        # inside the write, with no chance to clean up.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    longest = kill and (kill.at_byte or kill.full_at_byte)
    if longest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest, longest))
    code = 0
    try:
        main([str(each) for each in argv])
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(pipe, str(changes[0]).encode())
    os._exit(code)  # nothing of the parent is to be cleaned up here


def _count_changes(kill: Kill | None) -> list[int]:
    """Count changes of files in a list's only item; kill this process at the one asked for."""
    changes = [0]

    def watch(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if not (writes or event in _CHANGES):
            return
        changes[0] += 1
        if kill is not None and changes[0] == kill.at_operation:
            _kill_soon(kill.delay)

    sys.addaudithook(watch)
    return changes


def _kill_soon(delay: float) -> None:
    def kill_all() -> None:
        time.sleep(delay)
        os.killpg(0, signal.SIGKILL)

    if delay:
        threading.Thread(target=kill_all, daemon=True).start()
    else:
        kill_all()
