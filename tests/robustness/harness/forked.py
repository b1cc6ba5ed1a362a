"""Run a script's ``main`` in a fork of this process, which has the libraries loaded, and kill it.

A fork starts in milliseconds where a fresh Python needs seconds to import torch. The parent must
not have run a backward pass: torch's gradient threads do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.robustness.harness.changes import Kill, Recorder
from tests.robustness.harness.torn import tear

TIMEOUT = 600.0  # seconds; a run that takes longer hangs, on cores that others use, too


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code (negative: the signal), seconds."""

    code: int
    seconds: float


def run(
    main: Callable[..., None],
    argv: Sequence[str],
    log: Path,
    kill: Kill | None = None,
    changes: Path | None = None,
) -> Outcome:
    """Run ``main(argv)`` in a fork; what it prints is appended to ``log``.

    Args:
        main, argv: the script and its command line.
        log: gets standard output and error, by a pipe: limits on files' lengths are not on it.
        kill: when to stop it.
        changes: file for the changes that a run made which came to its end (``changes.load``).

    Raises:
        TimeoutError: it hung; it was killed.
    """
    reading, writing = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(main, argv, kill, writing, changes)
    os.close(writing)
    os.set_blocking(reading, False)
    with log.open("ab") as out:
        try:
            code = _wait(child, begun, kill.after_seconds if kill else None, reading, out)
        finally:
            os.close(reading)
    return Outcome(code, time.monotonic() - begun)


def _wait(child: int, begun: float, kill_after: float | None, reading: int, out: BinaryIO) -> int:
    """Wait for the end of the child and kill its whole group on the way."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        _drain(reading, out)
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


def _drain(reading: int, out: BinaryIO) -> None:
    try:
        while data := os.read(reading, 1 << 16):
            out.write(data)
    except BlockingIOError:
        pass


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet
        os.kill(child, signal.SIGKILL)


def _run_child(
    main: Callable[..., None],
    argv: Sequence[str],
    kill: Kill | None,
    output: int,
    changes: Path | None,
) -> None:
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    recorder = Recorder(kill)
    if kill is not None and kill.name:
        tear(kill.name, kill.at_byte or 0)
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
    if changes is not None:
        recorder.save(changes)
    os._exit(code)  # nothing of the parent is to be cleaned up here
