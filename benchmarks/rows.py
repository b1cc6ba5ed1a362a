"""The rows of the speed table: what is measured, and what follows for a whole epoch."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Result = dict[str, float]
Ask = Callable[..., dict[str, Result]]  # (task, *arguments) -> medians of "plain" and "ours"

TRAINING, TESTING, EPOCHS = 29_970, 33_133, 80  # cubes of Ped2, epochs of a stage
PUBLISHED_RATE = 154.0  # GFLOP/s of the machine the published code was timed on
PUBLISHED = {"step stage1": 3.4, "step stage2": 12.0, "score full": 4.5}  # seconds
STEP_SIZES = {"stage1": 256, "stage2": 128, "stage3": 128}
GOALS = {
    "step stage2": 2.5,
    "score full": 2.5,
    "epoch stage1": 5,
    "epoch stage2": 5,
    "epoch stage3": 5,
    "extract 360x240, ultrafast": 4,
    "disk 360x240": 2.5,
    "disk 856x480": 15,
}


@dataclass(frozen=True)
class Row:
    """One line: both sides in ``unit``, and how many times better ours is."""

    name: str
    plain: float
    ours: float
    unit: str
    ratio: float
    goal: float | None = None
    published_scaled: float | None = None  # by the matrix product's rate


class Costs:
    """Asks both sides, keeps the answers, makes rows of them.

    Args:
        ask: runs a task on both sides in turns.
        rate: GFLOP/s of this machine's float32 matrix product.
    """

    def __init__(self, ask: Ask, rate: float) -> None:
        self._ask, self._rate = ask, rate
        self.raw: dict[str, dict[str, Result]] = {}

    def get(self, task: str, *arguments: Any) -> dict[str, Result]:
        """Medians of both sides, measured once."""
        key = " ".join(map(str, (task, *arguments)))
        if key not in self.raw:
            self.raw[key] = self._ask(task, *arguments)
        return self.raw[key]

    def seconds(self, task: str, *arguments: Any) -> Row:
        """Seconds of a task; fewer are better."""
        name = f"{task} {arguments[0]}"
        measured = self.get(task, *arguments)
        plain, ours = (measured[side]["seconds"] for side in ("plain", "ours"))
        published = PUBLISHED.get(name)
        scaled = published and published * PUBLISHED_RATE / self._rate
        return Row(name, plain, ours, "s", plain / ours, GOALS.get(name), scaled)

    def rate(self, task: str, name: str, unit: str, *arguments: Any) -> Row:
        """Items a second of a task; more are better."""
        measured = self.get(task, *arguments)
        plain, ours = (
            measured[side]["count"] / measured[side]["seconds"] for side in ("plain", "ours")
        )
        return Row(name, plain, ours, unit, ours / plain, GOALS.get(name))

    def disk(self, width: int, height: int, preset: str) -> Row:
        """kB a frame that extraction leaves on disk."""
        measured = self.get("extract", width, height, preset)
        plain, ours = (
            measured[side]["bytes"] / measured[side]["count"] / 1000 for side in ("plain", "ours")
        )
        name = f"disk {width}x{height}"
        return Row(name, plain, ours, "kB a frame", plain / ours, GOALS.get(name))

    def epoch(self, stage: str) -> Row:
        """A Ped2 epoch with its share of statistics and test, from measured steps and scoring.

        The plain side tests every epoch and, where scores are normalised (stages 2 and 3), goes
        through the training set for statistics. Ours does both once a stage, after its last epoch,
        and stage 2 reconstructs the training flows once.
        """
        step, score = self.get("step", stage), self.get("score", _scored_by(stage))
        steps = -(-TRAINING // STEP_SIZES[stage])
        tested = TESTING + (0 if stage == "stage1" else TRAINING)
        plain = steps * step["plain"]["seconds"] + tested / 128 * score["plain"]["seconds"]
        described = self.get("describe_normal", _scored_by(stage))["ours"]
        once = (TRAINING + TESTING) / 128 * described["seconds"]
        if stage == "stage2":
            once += TRAINING / 128 * self.get("reconstruct_flows")["ours"]["seconds"]
        ours = steps * step["ours"]["seconds"] + once / EPOCHS
        name = f"epoch {stage}"
        return Row(name, plain, ours, "s", plain / ours, GOALS.get(name))


def median_of(results: list[Result]) -> Result:
    """Each value's median."""
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


def as_table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells."""
    header = ["", "plain", "ours", "unit", "ratio", "goal", "published, scaled"]
    return header, [
        [row.name, _short(row.plain), _short(row.ours), row.unit, f"{row.ratio:.1f}",
         _short(row.goal), _short(row.published_scaled)]
        for row in rows
    ]  # fmt: skip


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Plain dictionaries."""
    return [asdict(row) for row in rows]


def _scored_by(stage: str) -> str:
    return "stage1" if stage == "stage1" else "full"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
