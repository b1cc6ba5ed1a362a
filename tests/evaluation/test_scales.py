"""Surprise: how rare an error is among normal ones, and how terms are combined."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.normal_statistics import normal_statistics
from evaluation.scales import Surprise, z_score
from evaluation.scores import ScoreRule, Term, error_statistics, score_rules
from evaluation.smoothing import Smoothing
from utils.config.scoring import EvalConfig
from utils.errors import UserError

NORMAL = np.random.default_rng(0).lognormal(1.0, 0.5, 20_000)


def test_surprise_is_the_logarithm_of_the_share_above():
    surprise = Surprise.fit(NORMAL)
    for share in (0.5, 0.2, 0.06):
        value = np.quantile(NORMAL, 1 - share)
        assert surprise(np.array([value]))[0] == pytest.approx(-np.log(share), abs=0.02)


def test_the_tail_goes_on_exponentially_in_the_logarithm():
    pareto = 1 + np.random.default_rng(1).pareto(2.0, 200_000)  # share above x: x ** -2
    surprise = Surprise.fit(pareto)
    far = np.array([10.0, 100.0, 1000.0])  # shares 1e-2, 1e-4, 1e-6
    np.testing.assert_allclose(surprise(far), 2 * np.log(far), rtol=0.03)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.floats(0, 1e9), st.floats(0, 1e9))
def test_surprise_rises_and_is_finite(normal, one, other):
    low, high = Surprise.fit(np.array(normal))(np.sort([one, other]))
    assert 0 <= low <= high < np.inf


def test_surprise_survives_a_checkpoint():
    entry = error_statistics({"energy": NORMAL})["energy"]
    restored = Surprise.of(entry, "energy", "x.pth")
    values = np.geomspace(0.01, 1000, 50)
    np.testing.assert_array_equal(restored(values), Surprise.fit(NORMAL)(values))


def test_a_surprise_of_three_is_what_one_smoothed_normal_frame_in_twenty_reaches():
    """Also of an error whose high values last, which a median in time does not remove."""
    lasting = NORMAL[np.random.default_rng(4).integers(0, len(NORMAL), 200)].repeat(100)
    cubes = SimpleNamespace(
        videos=["a"],
        num_frames={"a": len(NORMAL)},
        video_index=np.zeros(len(NORMAL), int),
        frames=np.arange(len(NORMAL)),
    )
    smoothing = Smoothing(trim=4)
    errors = {"velocity": NORMAL, "energy": lasting}
    statistics = normal_statistics(errors, cubes, smoothing)
    for name, values in errors.items():
        scale = Surprise.of(statistics[name], name, "x.pth")
        smoothed = smoothing(scale(values))
        assert np.quantile(smoothed, 0.95) == pytest.approx(-np.log(0.05), rel=0.03)
    one_cube = {
        name: Surprise.of(statistics[name], name, "x.pth")(values.max())
        for name, values in errors.items()
    }
    assert one_cube["velocity"] > 1.5 * one_cube["energy"]


def test_frames_without_a_box_do_not_blow_surprises_up():
    scale = Surprise.fit(NORMAL)
    full = np.full(100, 2.0)
    assert scale.measured_by(np.concatenate([full, np.zeros(900)])).level == pytest.approx(2.0)
    for empty in (np.zeros(100), np.zeros(0), np.full(100, 0.01)):
        assert scale.measured_by(empty).level == 1.0


def test_tables_without_a_level_are_as_they_were():
    table = {"knots": [0.0, 1.0], "tail": 0.5}
    old = Surprise.of({"surprise": table}, "energy", "x.pth")
    assert old(np.exp([2.0]))[0] == pytest.approx(-np.log(0.05) + 2)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"mean": 1.0, "std": 1.0},
        {"surprise": {"knots": [np.nan], "tail": 1.0}},
        {"surprise": {"knots": [1.0], "tail": 0.0}},
        {"surprise": {"knots": [1.0], "tail": 1.0, "level": 0.0}},
        {"surprise": {"knots": [1.0], "tail": 1.0, "level": np.nan}},
    ],
)
def test_a_missing_or_damaged_table_is_refused(entry):
    with pytest.raises(UserError, match=r"x\.pth: .*energy"):
        Surprise.of(entry, "energy", "x.pth")


def test_statistics_that_cannot_normalise_are_refused():
    with pytest.raises(UserError, match="cannot normalise"):
        z_score({"mean": 1.0, "std": 0.0}, "energy", "x.pth")


def test_surprises_combine_as_a_harmonic_mean_of_probabilities():
    scale = Surprise.fit(NORMAL)
    rule = ScoreRule("hybrid", (Term("a", 1.0, scale), Term("b", 3.0, scale)))
    errors = {"a": np.quantile(NORMAL, [0.3, 0.9]), "b": np.quantile(NORMAL, [0.8, 0.5])}
    probability = {name: np.exp(-scale(values)) for name, values in errors.items()}
    mean = 4 / (1 / probability["a"] + 3 / probability["b"])
    np.testing.assert_allclose(rule(errors), -np.log(mean))
    assert rule.zero_error_score == pytest.approx(0.0)
    assert rule.describe() == "1 * surprise(a) + 3 * surprise(b)"


def test_what_one_term_alone_sees_is_not_averaged_away():
    generator = np.random.default_rng(2)
    errors = {name: generator.lognormal(1, 0.5, 2000) for name in ("energy", "appearance")}
    settings = EvalConfig(w_flow=0, w_frame=0, w_energy=1, w_appearance=1, normalisation="surprise")
    rules = score_rules("density", error_statistics(errors), settings, "x.pth")
    assert list(rules) == ["hybrid", "appearance", "no learning"]
    ordinary = {name: np.median(values)[None] for name, values in errors.items()}
    odd = ordinary | {"appearance": errors["appearance"].max()[None] * 2}
    assert rules["hybrid"](odd)[0] > rules["hybrid"](ordinary)[0] + 5


def test_a_heavy_tail_does_not_drown_the_other_terms():
    """The largest flow error of a real camera was 5,000 times its median."""
    errors = {"energy": NORMAL.copy(), "appearance": NORMAL}
    errors["energy"][:3] = 5000 * np.median(NORMAL)
    settings = EvalConfig(w_flow=0, w_frame=0, w_energy=1, w_appearance=1, normalisation="surprise")
    rule = score_rules("density", error_statistics(errors), settings, "x.pth")["hybrid"]
    fast = {"energy": 10 * np.median(NORMAL)[None], "appearance": np.median(NORMAL)[None]}
    assert rule(fast)[0] > np.quantile(rule(errors), 0.999)


def test_an_old_checkpoint_says_what_to_do():
    statistics = error_statistics({"energy": NORMAL})
    settings = EvalConfig(w_flow=0, w_frame=0, w_energy=1, w_appearance=1)
    with pytest.raises(UserError, match=r"no statistics of appearance.*density_fit\.py"):
        score_rules("density", statistics, settings, "x.pth")
