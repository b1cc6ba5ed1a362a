"""Why a cube scores high: what each error adds to its score, and how it moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.scores import ScoreRule

# What a high error means to somebody who looks at the picture.
_WORDS = {
    "flow_error": "unfamiliar motion",
    "frame_error": "unexpected appearance",
    "energy": "fast motion",
    "steady_energy": "fast, steady motion",
    "fast_energy": "fast, steady motion of a part",
    "appearance": "unlike any normal picture",
    "velocity": "unusual speed or direction",
}
_SMALLEST = 0.005  # share that is mentioned
# As ``evaluation.densities.velocity`` orders them.
_DIRECTIONS = (
    "left", "up and left", "up", "up and right", "right", "down and right", "down", "down and left",
)  # fmt: skip
_STILL = 0.05  # pixels a frame


def shares(rule: ScoreRule, errors: Mapping[str, float]) -> list[tuple[str, float]]:
    """What each error adds to a cube's score above that of a usual cube, largest first.

    Args:
        rule: of the score.
        errors: of one cube.

    Returns:
        (error, share) of the errors above their mean, or, of surprises, each one's share in the
        harmonic mean; shares sum to 1. Empty where there is none.
    """
    added = {term.error: term.weight * float(term(errors)) for term in rule.terms}
    if rule.is_surprise:
        added = {t.error: t.weight * math.exp(min(float(t(errors)), 600)) for t in rule.terms}
    total = sum(value for value in added.values() if value > 0)
    found = [(name, value / total) for name, value in added.items() if value > 0]
    return sorted(found, key=lambda pair: -pair[1])


def why(rule: ScoreRule, errors: Mapping[str, float]) -> str:
    """The same in words: ``unfamiliar motion 84 %, unexpected appearance 16 %``.

    Empty where a network gives the score itself, which has no parts.
    """
    if [term.error for term in rule.terms] == ["score"]:
        return ""
    found = [(name, share) for name, share in shares(rule, errors) if share >= _SMALLEST]
    if not found:
        return "no error is above that of a usual cube"
    return ", ".join(
        f"{_WORDS.get(name, name.replace('_', ' '))} {100 * share:.0f} %" for name, share in found
    )


def velocity_in_words(velocity: Sequence[float] | np.ndarray) -> str:
    """``right, 3.4 px a frame`` (the mean over the box) for a histogram of eight directions."""
    speed = float(np.sum(velocity))
    if speed < _STILL:
        return "hardly at all"
    return f"{_DIRECTIONS[int(np.argmax(velocity))]}, {speed:.2g} px a frame"
