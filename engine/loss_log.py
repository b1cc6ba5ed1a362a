"""Losses of the running epoch: averaged over processes, checked, summed."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.stage import LossTerms
from engine.state import TrainingState
from utils.distributed import mean_over_processes
from utils.errors import UserError


class LossLog:
    """Keeps the terms of recent steps on the device until they are read (which waits for a GPU).

    Args:
        state: whose ``loss_sums`` are added to, and whose ``step`` names a bad one.
        stage: its name, for messages.
        path: of its checkpoint, for messages.
    """

    def __init__(self, state: TrainingState, stage: str, path: Path) -> None:
        self._state, self._stage, self._path = state, stage, path
        self._recent: list[LossTerms] = []

    def add(self, terms: LossTerms) -> None:
        """Keep the terms of the step that was just counted."""
        self._recent.append(terms)

    def check(self) -> dict[str, float]:
        """Add the recent terms to the epoch's sums; return their means (collective).

        Raises:
            UserError: one of them is not finite.
        """
        if not self._recent:
            return {}
        first_step = self._state.step - len(self._recent) + 1
        names = list(self._recent[0])
        rows = [torch.stack([terms[name].float() for terms in self._recent]) for name in names]
        read = mean_over_processes(torch.stack(rows)).cpu()  # the one time that a GPU is waited for
        table = dict(zip(names, read, strict=True))
        bad = (~torch.isfinite(table["total"])).nonzero()
        if len(bad):
            self._refuse(first_step + int(bad[0]), float(table["total"][int(bad[0])]))
        sums = self._state.loss_sums
        for name, values in table.items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
        self._recent = []
        return {name: float(values.mean()) for name, values in table.items()}

    def _refuse(self, step: int, value: float) -> None:
        good = (
            f"{self._path} is the last good checkpoint"
            if self._path.exists()
            else "no checkpoint was written yet"
        )
        raise UserError(
            f"{self._stage}: the loss is {value} at step {step}; {good}. Lower "
            f"{self._stage}.lr, use run.precision=fp32, or look for broken input cubes"
        )
