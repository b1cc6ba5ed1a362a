"""What a training stage logs: tensorboard scalars and pictures, one JSON line per epoch."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from utils.files import naming, write_text


class StageLogger:
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
        self._folder = folder / "tensorboard"
        self._board = SummaryWriter(str(self._folder), purge_step=first_step)

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
        with naming(self._lines), self._lines.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")

    def __enter__(self) -> StageLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Flush and close the event file; what ended the training is not hidden by its fault."""
        with contextlib.suppress(OSError) if kind else naming(self._folder):
            self._board.close()


def _lines_until(path: Path, epochs: int) -> Iterator[str]:
    """The whole lines of the first ``epochs`` epochs in ``log.jsonl``; damaged ones are left out.

    A log is no reason not to train.
    """
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if line.endswith("\n") and _epoch_of(line) <= epochs:
            yield line


def _epoch_of(line: str) -> float:
    try:
        epoch = json.loads(line)["epoch"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return math.inf
    return epoch if isinstance(epoch, int) else math.inf
