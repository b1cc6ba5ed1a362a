"""Why a cube scores high."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.densities.velocity import velocity_features
from evaluation.scales import ZScore
from evaluation.scores import ScoreRule, Term
from visualization.reasons import shares, velocity_in_words, why

RULE = ScoreRule(
    "hybrid",
    (Term("flow_error", 1.0, ZScore(10.0, 2.0)), Term("frame_error", 0.5, ZScore(5.0, 1.0))),
)


def test_shares_are_of_what_each_error_adds_above_a_usual_cube():
    found = shares(RULE, {"flow_error": 16.0, "frame_error": 7.0})  # 3 and 1
    assert found == [("flow_error", pytest.approx(0.75)), ("frame_error", pytest.approx(0.25))]
    assert why(RULE, {"flow_error": 16.0, "frame_error": 7.0}) == (
        "unfamiliar motion 75 %, unexpected appearance 25 %"
    )


def test_errors_below_the_usual_are_no_reason():
    found = why(RULE, {"flow_error": 4.0, "frame_error": 9.0, "energy": 99.0})
    assert found == "unexpected appearance 100 %"
    assert why(RULE, {"flow_error": 4010.0, "frame_error": 7.0}) == "unfamiliar motion 100 %"
    assert why(RULE, {"flow_error": 4.0, "frame_error": 1.0}).startswith("no error is above")


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [(3, 0, "right"), (-3, 0, "left"), (0, -3, "up"), (0, 3, "down"), (2, 2, "down and right"),
     (-2, -2, "up and left")],
)  # fmt: skip
def test_directions_are_those_on_the_picture(x, y, words):
    motion = np.zeros((1, 4, 32, 32, 2), np.float16)
    motion[..., 0], motion[..., 1] = x, y
    found = velocity_in_words(velocity_features(motion)[0])
    assert found == f"{words}, {np.hypot(x, y):.2g} px a frame"


def test_what_stands_still_has_no_direction():
    assert velocity_in_words(np.full(8, 0.001)) == "hardly at all"
