"""Why a cube scores high."""

from __future__ import annotations

import pytest

from evaluation.scales import ZScore
from evaluation.scores import ScoreRule, Term
from visualization.reasons import shares, why

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
