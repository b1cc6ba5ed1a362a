"""A stage's folder: one writer at a time, logs, and a clean stop on a signal."""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils import distributed
from utils.errors import UserError
from utils.files import remove_parts

_ECHO_SECONDS = 2.0


@contextmanager
def sole_writer(
    folder: Path, remedy: str = "wait for it or set another run.name"
) -> Iterator[None]:
    """Hold ``folder`` for this run; a second run into it is refused with ``UserError``.

    What killed runs left half-written in it is removed.
    Of processes that work together the first one holds it for all.
    """
    if not distributed.is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another run is writing here; {remedy}") from None
        remove_parts(folder)
        yield


class StopSignal:
    """Turns the first SIGTERM or Ctrl-C into a flag that the training loop looks at."""

    def __init__(self) -> None:
        self.received = False
        self._ignored_until = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.received and time.monotonic() > self._ignored_until:  # a second one means: now
            raise KeyboardInterrupt
        if not self.received and distributed.count() > 1:  # launchers pass on what came already
            self._ignored_until = time.monotonic() + _ECHO_SECONDS
        self.received = True


_RESULTS = (
    "frame_scores*.csv", "cube_scores*.csv", "annotated*.mp4", "annotated*.mkv", "alarms.json*",
    "metrics.json", "report.html", "annotated/*.mp4", "clips/*.mp4",
)  # fmt: skip


@contextmanager
def claimed_folder(
    folder: Path, overwrite: bool, resuming: bool = False, sources: Sequence[Path] = ()
) -> Iterator[None]:
    """Hold a folder for this process, without results of an earlier run in it.

    Args:
        folder: made where it is missing.
        overwrite: remove the results of an earlier run; other files are left alone.
        resuming: the results there are this run's own, before it was interrupted: they stay.
        sources: files that are read.

    Raises:
        UserError: another run writes there now, there are results and ``overwrite`` is false, or
            what would be replaced is a source.
        OSError: the folder cannot be made or written to.
    """
    with sole_writer(folder):
        old = [path for pattern in _RESULTS for path in folder.glob(pattern)]
        if old and not overwrite and not resuming:
            raise UserError(
                f"{folder}: holds the results of an earlier run ({old[0].name}, ...); pass "
                "--overwrite to replace them, or another --output"
            )
        _require_no_source(old, sources)
        for path in () if resuming else old:
            path.unlink()
        for each in (folder, folder / "annotated", folder / "clips"):
            remove_parts(each)
        yield


def _require_no_source(results: Sequence[Path], sources: Sequence[Path]) -> None:
    read = {path.resolve() for path in sources}
    for path in results:
        if path.resolve() in read:
            raise UserError(
                f"{path}: is read, and would be replaced by results; pass another --output"
            )
