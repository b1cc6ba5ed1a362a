"""From cube errors to frame scores (HF2-VAD §3.3 and the released evaluation).

The chain: errors of cubes -> ``ScoreRule`` -> score of a cube -> largest score in a frame ->
``evaluation.smoothing`` of each video. Nothing here looks at labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import UserError

Errors = dict[str, np.ndarray]
STAGES = ("ml_memae_sc", "cvae", "finetune")
QUANTILE_LEVELS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1)
# error -> its weight's name in the configuration's ``eval`` block
WEIGHTS = {
    "flow_error": "w_flow",
    "frame_error": "w_frame",
    "energy": "w_energy",
    "steady_energy": "w_steady_energy",
}
BASELINE = "no learning"
RAW = (0.0, 1.0)  # mean and deviation that leave an error as it is


def collect_errors(
    batches: Iterable[Any], score_batch: Callable[[Any], Mapping[str, Any]]
) -> Errors:
    """Score all batches and join what comes out.

    Args:
        batches: anything to iterate over, in the order of the cubes.
        score_batch: maps a batch of B cubes to named errors, each a (B,) tensor or array.

    Returns:
        Each error as (n,) float64.

    Raises:
        UserError: there was no cube at all, or an error is not finite.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for name, values in score_batch(batch).items():
            values = values.cpu() if hasattr(values, "cpu") else values
            parts.setdefault(name, []).append(np.asarray(values, dtype=np.float64))
    if not parts:
        raise UserError("no cube to score: no box was found in any frame; look at the boxes")
    errors = {name: np.concatenate(values) for name, values in parts.items()}
    for name, values in errors.items():
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(
                f"{name} of cube {bad} is {values[bad]}: the checkpoint holds broken weights or "
                "the cube broken flow; train or extract again"
            )
    return errors


def error_statistics(errors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Describe the errors of normal data, for the checkpoint.

    Args:
        errors: each (n,), over all training cubes.

    Returns:
        For each error ``mean``, population standard deviation ``std`` and ``quantiles`` at
        ``quantile_levels``; and ``num_cubes``. Plain floats and lists.
    """
    statistics: dict[str, Any] = {
        name: {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "quantiles": np.quantile(values, QUANTILE_LEVELS).tolist(),
        }
        for name, values in errors.items()
    }
    statistics["num_cubes"] = len(next(iter(errors.values())))
    statistics["quantile_levels"] = list(QUANTILE_LEVELS)
    return statistics


@dataclass(frozen=True)
class ScoreRule:
    """A cube's score: the sum of ``weight * (error - mean) / deviation`` over its terms.

    ``terms`` holds (error name, weight, mean, deviation).
    """

    name: str
    terms: tuple[tuple[str, float, float, float], ...]

    def __call__(self, errors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores (n,) float64 of cubes with the given errors, each (n,)."""
        terms = [
            weight * (np.asarray(errors[name], dtype=np.float64) - mean) / deviation
            for name, weight, mean, deviation in self.terms
        ]
        return np.sum(terms, axis=0)

    @property
    def zero_error_score(self) -> float:
        """What a frame without any cube gets: the score of a cube without error."""
        return float(self({name: np.zeros(()) for name, *_ in self.terms}))

    def describe(self) -> str:
        """The rule as a formula."""
        return " + ".join(
            name if (mean, deviation) == RAW else f"{weight:g} * z({name})"
            for name, weight, mean, deviation in self.terms
        )


def score_rules(
    stage: str, statistics: Mapping[str, Any], settings: Any, source: str
) -> dict[str, ScoreRule]:
    """The scores that are reported for a checkpoint, the one to be judged by first.

    Stages ``cvae`` and ``finetune``: ``hybrid`` (the weighted sum), ``flow branch``,
    ``frame branch`` and ``no learning`` (squared flow, the baseline). Stage ``ml_memae_sc``: the
    error itself and the baseline, neither normalised.

    Args:
        stage: stage of the checkpoint.
        statistics: as made by ``error_statistics``, on training data.
        settings: the configuration's ``eval`` block, for its ``w_...``.
        source: the checkpoint, for messages.

    Raises:
        UserError: statistics that cannot normalise, or no weight above zero.
    """
    baseline = ScoreRule(BASELINE, (("energy", 1.0, *RAW),))
    if stage == STAGES[0]:
        rules = [ScoreRule("flow branch", (("flow_error", 1.0, *RAW),)), baseline]
        return {rule.name: rule for rule in rules}
    weights = {error: getattr(settings, key) for error, key in WEIGHTS.items()}
    used = {error: weight for error, weight in weights.items() if weight > 0}
    if not used:
        keys = ", ".join(f"eval.{key}" for key in WEIGHTS.values())
        raise UserError(f"{keys}: one of them must be above zero")

    def rule(name: str, chosen: Mapping[str, float]) -> ScoreRule:
        moments = {error: _mean_std(statistics, error, source) for error in chosen}
        return ScoreRule(name, tuple((e, weight, *moments[e]) for e, weight in chosen.items()))

    rules = [
        rule("hybrid", used),
        rule("flow branch", {"flow_error": 1.0}),
        rule("frame branch", {"frame_error": 1.0}),
        baseline,
    ]
    return {rule.name: rule for rule in rules}


def frame_scores(
    cube_scores: np.ndarray,
    video_index: np.ndarray,
    frames: np.ndarray,
    num_frames: Sequence[int],
    empty_score: float,
) -> list[np.ndarray]:
    """Score of a frame: the largest among its cubes; ``empty_score`` where it has none.

    Args:
        cube_scores: (n,) float.
        video_index: (n,) int, which video each cube is from.
        frames: (n,) int, frame in that video.
        num_frames: length of each video.

    Returns:
        One (T,) float64 array a video.
    """
    starts = np.concatenate([[0], np.cumsum(num_frames)]).astype(np.int64)
    largest = np.full(starts[-1], -np.inf)
    np.maximum.at(largest, starts[video_index] + frames, cube_scores)
    largest[np.isneginf(largest)] = empty_score
    return np.split(largest, starts[1:-1])


def _mean_std(statistics: Mapping[str, Any], error: str, source: str) -> tuple[float, float]:
    entry = statistics.get(error)
    if not isinstance(entry, Mapping) or not {"mean", "std"} <= set(entry):
        raise UserError(f"{source}: no statistics of {error} in it; run the stage's training again")
    mean, deviation = float(entry["mean"]), float(entry["std"])
    if not (np.isfinite(mean) and np.isfinite(deviation) and deviation > 0):
        raise UserError(
            f"{source}: {error} of the training cubes has mean {mean} and deviation {deviation}, "
            "which cannot normalise scores; train on more than one kind of cube"
        )
    return mean, deviation
