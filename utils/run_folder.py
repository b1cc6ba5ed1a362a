"""A stage's folder: one writer at a time, logs, and a clean stop on a signal."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from utils import processes
from utils.errors import UserError
from utils.files import remove_parts, write_text

_ECHO_SECONDS = 2.0


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this run; a second run into it is refused with ``UserError``.

    What killed runs left half-written in it is removed.
    Of processes that work together the first one holds it for all.
    """
    if not processes.is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another run is writing here; wait for it or set another run.name"
            ) from None
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
        if not self.received and processes.count() > 1:  # launchers pass on what came already
            self._ignored_until = time.monotonic() + _ECHO_SECONDS
        self.received = True


class RunLog:
    """Scalars and pictures for tensorboard, and one JSON line an epoch in ``log.jsonl``.

    Args:
        folder: the stage's.
        first_step: where training goes on.
        epochs: how many are over; lines that a killed run wrote of later ones are dropped.
    """

    def __init__(self, folder: Path, first_step: int, epochs: int) -> None:
        self._lines = folder / "log.jsonl"
        if self._lines.exists():
            write_text(self._lines, "".join(_lines_until(self._lines, epochs)))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def scalars(self, prefix: str, values: dict[str, float], step: int) -> None:
        """Write named numbers at a global step."""
        for name, value in values.items():
            self._board.add_scalar(f"{prefix}/{name}", value, step)

    def pictures(self, pictures: dict[str, np.ndarray], step: int) -> None:
        """Write named (H,W,3) uint8 BGR pictures."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture[..., ::-1], step, dataformats="HWC")

    def epoch_line(self, record: dict[str, Any]) -> None:
        """Append one JSON line."""
        with self._lines.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Flush and close the event file."""
        self._board.close()


def _lines_until(path: Path, epochs: int) -> Iterator[str]:
    """The whole lines of the first ``epochs`` epochs in ``log.jsonl``."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["epoch"] <= epochs:
            yield line
