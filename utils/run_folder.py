"""A stage's folder: one writer at a time, logs, and a clean stop on a signal."""

from __future__ import annotations

import fcntl
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from utils.errors import UserError


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; a second run into it is refused with ``UserError``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another run is writing here; wait for it or set another run.name"
            ) from None
        yield


class StopSignal:
    """Turns the first SIGTERM or Ctrl-C into a flag that the training loop looks at."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.received:  # a second one means: now
            raise KeyboardInterrupt
        self.received = True


class RunLog:
    """Scalars and pictures for tensorboard, and one JSON line an epoch in ``log.jsonl``."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._lines = folder / "log.jsonl"
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
