"""From cube errors to frame scores (HF2-VAD §3.3 and the released evaluation).

The chain: errors of cubes -> ``ScoreRule`` -> score of a cube -> largest score in a frame ->
``evaluation.smoothing`` of each video. Nothing here looks at labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.scales import RAW, Scale, Surprise, z_score
from utils.errors import UserError
from utils.transfer import read_together

Errors = dict[str, np.ndarray]
STAGES = ("ml_memae_sc", "cvae", "finetune", "density")
DENSITY_STAGE = STAGES[3]  # densities alone, without a network
QUANTILE_LEVELS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1)
# error -> its weight's name in the configuration's ``eval`` block
WEIGHTS = {
    "flow_error": "w_flow",
    "frame_error": "w_frame",
    "energy": "w_energy",
    "steady_energy": "w_steady_energy",
    "fast_energy": "w_fast_energy",
    "appearance": "w_appearance",
    "velocity": "w_velocity",
}
DENSITIES = ("appearance", "velocity")
BASELINE = "no learning"


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
    for scored in read_together(map(score_batch, batches)):
        for name, values in scored.items():
            parts.setdefault(name, []).append(values)
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
        errors: each (n,), over all normal cubes.

    Returns:
        For each error ``mean``, population standard deviation ``std``, ``quantiles`` at
        ``quantile_levels`` and the table ``surprise`` (see ``evaluation.scales``); and
        ``num_cubes``. Plain floats and lists.
    """
    statistics: dict[str, Any] = {
        name: {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "quantiles": np.quantile(values, QUANTILE_LEVELS).tolist(),
            "surprise": Surprise.fit(values).as_json(),
        }
        for name, values in errors.items()
    }
    statistics["num_cubes"] = len(next(iter(errors.values())))
    statistics["quantile_levels"] = list(QUANTILE_LEVELS)
    return statistics


def error_names(statistics: Mapping[str, Any]) -> list[str]:
    """The errors that ``error_statistics`` described."""
    return [name for name, each in statistics.items() if isinstance(each, dict) and "mean" in each]


@dataclass(frozen=True)
class Term:
    """One error in a score: its weight, and the scale on which it is added."""

    error: str
    weight: float
    scale: Scale

    def __call__(self, errors: Mapping[str, Any]) -> np.ndarray:
        """The error on its scale, (n,) float64."""
        return self.scale(np.asarray(errors[self.error], dtype=np.float64))


@dataclass(frozen=True)
class ScoreRule:
    """A cube's score from its errors.

    Scales of deviations are added with their weights (HF2-VAD §3.3). Surprises are combined as
    minus the logarithm of the weighted harmonic mean of their probabilities (Wilson, PNAS 116,
    2019): nearly the largest of them, so that what one term alone sees is not averaged away.
    """

    name: str
    terms: tuple[Term, ...]

    def __call__(self, errors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores (n,) float64 of cubes with the given errors, each (n,)."""
        if not self.is_surprise:
            return np.sum([term.weight * term(errors) for term in self.terms], axis=0)
        total = sum(term.weight for term in self.terms)
        shares = [np.log(term.weight / total) + term(errors) for term in self.terms]
        return np.logaddexp.reduce(shares, axis=0)

    @property
    def is_surprise(self) -> bool:
        """Whether its terms are surprises."""
        return isinstance(self.terms[0].scale, Surprise)

    @property
    def normalisation(self) -> str:
        """What its terms were made comparable by, in words."""
        if self.is_surprise:
            return "surprise among normal cubes, harmonic mean of probabilities, no min-max"
        if all(term.scale == RAW for term in self.terms):
            return "none"
        return "mean and deviation of training cubes, no min-max"

    @property
    def zero_error_score(self) -> float:
        """What a frame without any cube gets: the score of a cube without error."""
        return float(self({term.error: np.zeros(()) for term in self.terms}))

    def describe(self) -> str:
        """The rule as a formula."""
        return " + ".join(_describe(term) for term in self.terms)


def _describe(term: Term) -> str:
    if term.scale == RAW:
        return term.error
    function = "surprise" if isinstance(term.scale, Surprise) else "z"
    return f"{term.weight:g} * {function}({term.error})"


def score_rules(
    stage: str, statistics: Mapping[str, Any], settings: Any, source: str
) -> dict[str, ScoreRule]:
    """The scores that are reported for a checkpoint, the main one first.

    Stages ``cvae`` and ``finetune``: ``hybrid`` (all terms with a weight), ``flow branch``,
    ``frame branch``, one of each density, and ``no learning`` (squared flow, the baseline). Stage
    ``density``: the same without the two branches. Stage ``ml_memae_sc``: the error itself and the
    baseline, neither normalised.

    Args:
        stage: stage of the checkpoint.
        statistics: as made by ``error_statistics``, on normal data.
        settings: the configuration's ``eval`` block, for its ``w_...`` and ``normalisation``.
        source: the checkpoint, for messages.

    Raises:
        UserError: statistics that cannot normalise, or no weight above zero.
    """
    baseline = ScoreRule(BASELINE, (Term("energy", 1.0, RAW),))
    if stage == STAGES[0]:
        return {
            "flow branch": ScoreRule("flow branch", (Term("flow_error", 1.0, RAW),)),
            BASELINE: baseline,
        }
    weights = {error: getattr(settings, key) for error, key in WEIGHTS.items()}
    used = {error: weight for error, weight in weights.items() if weight > 0}
    if not used:
        keys = ", ".join(f"eval.{key}" for key in WEIGHTS.values())
        raise UserError(f"{keys}: one of them must be above zero")
    branches = [] if stage == DENSITY_STAGE else ["flow_error", "frame_error"]
    branches += [error for error in DENSITIES if error in used]

    def rule(name: str, chosen: Mapping[str, float]) -> ScoreRule:
        scale = Surprise.of if settings.normalisation == "surprise" else z_score
        terms = [
            Term(error, weight, scale(statistics.get(error), error, source))
            for error, weight in chosen.items()
        ]
        return ScoreRule(name, tuple(terms))

    rules = [rule("hybrid", used)]
    rules += [rule(_BRANCHES[error], {error: 1.0}) for error in branches]
    return {each.name: each for each in (*rules, baseline)}


_BRANCHES = {
    "flow_error": "flow branch",
    "frame_error": "frame branch",
    "appearance": "appearance",
    "velocity": "velocity",
}


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
