"""Scales on which the errors of a cube can be added: as they are, in deviations, as surprise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from utils.errors import UserError

_REMEDY = (
    "run the stage's training script again, or density_fit.py --model_save_path with this file"
)
_TAIL_SHARE = 0.05  # of normal cubes; beyond it their surprise is extrapolated
_ONE_IN_TWENTY = -math.log(_TAIL_SHARE)  # surprise of the tail's beginning, 3.0
_LEAST_LEVEL = 1.0  # of normal frames: fewer boxes than frames must not blow surprises up
_KNOTS = 96
_LEAST = 1e-12  # errors below it are taken as it, for their logarithm
_LEAST_TAIL = 0.02  # scale of a tail of equal values: 2 % more is as rare as 1 in e


class Scale(Protocol):
    """Maps errors (n,) to what they weigh in a score, (n,) float64; rising."""

    def __call__(self, values: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ZScore:
    """Distance from the normal mean in standard deviations (HF2-VAD §3.3)."""

    mean: float
    deviation: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(values - mean) / deviation."""
        return (np.asarray(values, np.float64) - self.mean) / self.deviation


RAW = ZScore(0.0, 1.0)  # leaves an error as it is


@dataclass(frozen=True)
class Surprise:
    """Minus the logarithm of the share of normal cubes whose error is as large or larger.

    0 for the least error; 3 where 1 normal cube in 20 is as far out. Beyond that the share falls
    exponentially with the logarithm of the error, as in the tail of the normal cubes, so that no
    heavy tail of one error drowns the others.

    A frame takes the largest surprise of its cubes, and a median in time follows; what remains of
    an error whose high values last (one large walker, many frames) is more than of one whose high
    values are noise. So surprises are measured by the ``level`` that one normal frame in twenty
    reaches, which is 3, as for cubes.

    Attributes:
        knots: (k,) rising logarithms of errors, at equal steps of the share from 1 to 1/20.
        tail: how much the logarithm of an error rises, in the tail, for one unit of surprise.
        level: surprise, not yet measured by it, that one smoothed normal frame in twenty reaches.
    """

    knots: np.ndarray
    tail: float
    level: float = _ONE_IN_TWENTY

    @classmethod
    def fit(cls, values: np.ndarray) -> Surprise:
        """From the errors (n,) of normal cubes, at best of cubes that nothing was fitted on."""
        logs = _log(values)
        knots = np.quantile(logs, np.linspace(0, 1 - _TAIL_SHARE, _KNOTS))
        beyond = logs[logs > knots[-1]] - knots[-1]
        tail = max(float(beyond.mean()) if len(beyond) else 0.0, _LEAST_TAIL)
        return cls(knots, tail)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Surprises, 0 or more."""
        return self._among_cubes(values) * (_ONE_IN_TWENTY / self.level)

    def measured_by(self, frames: np.ndarray) -> Surprise:
        """The same, measured by what normal frames reach.

        Args:
            frames: (t,) smoothed frame scores of normal video by this scale alone; frames without
                a cube, 0, are left out.
        """
        scored = frames[frames > 0]
        level = float(np.quantile(scored, 1 - _TAIL_SHARE)) if len(scored) else 0.0
        return replace(self, level=max(level * self.level / _ONE_IN_TWENTY, _LEAST_LEVEL))

    def _among_cubes(self, values: np.ndarray) -> np.ndarray:
        logs = _log(values)
        known = -np.log(np.linspace(1, _TAIL_SHARE, len(self.knots)))
        inside = np.interp(logs, self.knots, known)
        return inside + np.maximum(logs - self.knots[-1], 0) / self.tail

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return {"knots": self.knots.tolist(), "tail": self.tail, "level": self.level}

    @classmethod
    def of(cls, entry: Any, error: str, source: str) -> Surprise:
        """From ``as_json``.

        Raises:
            UserError: the checkpoint ``source`` has no such table for ``error``, or a damaged one.
        """
        if not isinstance(entry, Mapping) or "surprise" not in entry:
            raise UserError(
                f"{source}: no table for eval.normalisation=surprise of {error} in it; {_REMEDY}, "
                "or set eval.normalisation=z"
            )
        table = entry["surprise"]
        knots, tail = np.asarray(table["knots"], np.float64), float(table["tail"])
        level = float(table.get("level", _ONE_IN_TWENTY))  # older checkpoints have none
        sound = knots.ndim == 1 and len(knots) and np.isfinite(knots).all()
        if not sound or not tail > 0 or not 0 < level < np.inf:
            raise UserError(f"{source}: its surprise table of {error} is damaged; train again")
        return cls(knots, tail, level)


def z_score(entry: Any, error: str, source: str) -> ZScore:
    """From a checkpoint's statistics of an error.

    Raises:
        UserError: no statistics of it in ``source``, or some that cannot normalise.
    """
    if not isinstance(entry, Mapping) or not {"mean", "std"} <= set(entry):
        raise UserError(f"{source}: no statistics of {error} in it; {_REMEDY}")
    mean, deviation = float(entry["mean"]), float(entry["std"])
    if not (np.isfinite(mean) and np.isfinite(deviation) and deviation > 0):
        raise UserError(
            f"{source}: {error} of the training cubes has mean {mean} and deviation {deviation}, "
            "which cannot normalise scores; train on more than one kind of cube"
        )
    return ZScore(mean, deviation)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(values, np.float64), _LEAST))
