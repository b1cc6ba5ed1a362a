"""From cube errors to smoothed frame scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import medfilt

from evaluation.metrics import micro_auc
from evaluation.scores import (
    QUANTILE_LEVELS,
    collect_errors,
    error_statistics,
    frame_scores,
    score_rules,
)
from evaluation.smoothing import Smoothing, causal_median, centred_median, min_max_normalise
from utils.config.hf2vad import EvalConfig
from utils.errors import UserError

WEIGHTS = EvalConfig(w_flow=1.0, w_frame=0.1, w_energy=0.0)
SCORES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-100, 100))


def make_statistics(seed: int = 0) -> dict:
    generator = np.random.default_rng(seed)
    return error_statistics(
        {name: generator.gamma(2.0, size=50) for name in ("flow_error", "frame_error", "energy")}
    )


def test_equal_to_the_published_protocol(vad_data):
    reference = np.load(vad_data / "reference" / "scoring_ped2.npz")
    train = {name: reference[f"train_{name}"] for name in ("flow_error", "frame_error")}
    weights = EvalConfig(w_flow=float(reference["w_r"]), w_frame=float(reference["w_p"]))
    statistics = error_statistics(train) | {"energy": {"mean": 0.0, "std": 1.0}}
    rule = score_rules("finetune", statistics, weights, "reference")["hybrid"]
    lengths = reference["video_lengths"].tolist()
    starts = np.cumsum([0, *lengths])
    video_index = np.searchsorted(starts, reference["sample_frame"], "right") - 1
    frames = reference["sample_frame"] - starts[video_index]
    cube_scores = rule({name: reference[name] for name in train})
    scores = frame_scores(cube_scores, video_index, frames, lengths, rule.zero_error_score)

    assert np.allclose(
        np.concatenate(scores), reference["frame_scores_before_trimming"], rtol=0, atol=1e-12
    )
    labels = np.split(reference["labels"], starts[1:-1])
    smoothed = [Smoothing(trim=4, size=17)(video) for video in scores]
    auc = micro_auc(smoothed, [video[4:] for video in labels])
    assert auc == pytest.approx(float(reference["micro_auc_medfilt17"]), abs=1e-12)


def test_hybrid_rule_by_hand():
    statistics = {
        "flow_error": {"mean": 10.0, "std": 2.0},
        "frame_error": {"mean": 4.0, "std": 4.0},
        "energy": {"mean": 1.0, "std": 0.5},
        "steady_energy": {"mean": 2.0, "std": 1.0},
    }
    weights = EvalConfig(w_flow=1.0, w_frame=0.5, w_energy=2.0, w_steady_energy=3.0)
    rules = score_rules("finetune", statistics, weights, "x.pth")
    errors = {
        "flow_error": np.array([14.0]),
        "frame_error": np.array([0.0]),
        "energy": np.array([3.0]),
        "steady_energy": np.array([6.0]),
    }
    assert rules["hybrid"](errors) == pytest.approx(2.0 - 0.5 + 8.0 + 12.0)
    assert rules["hybrid"].zero_error_score == pytest.approx(-5.0 - 0.5 - 4.0 - 6.0)
    assert rules["flow branch"](errors) == pytest.approx(2.0)
    assert rules["frame branch"](errors) == pytest.approx(-1.0)
    assert rules["no learning"](errors) == pytest.approx(3.0)
    assert next(iter(rules)) == "hybrid"


def test_stage_one_is_not_normalised_and_has_no_frame_branch():
    rules = score_rules("ml_memae_sc", make_statistics(), WEIGHTS, "x.pth")
    assert list(rules) == ["flow branch", "no learning"]
    assert rules["flow branch"]({"flow_error": np.array([7.5])}) == pytest.approx(7.5)
    assert rules["flow branch"].zero_error_score == 0.0


def test_a_weight_of_zero_leaves_its_term_out():
    statistics = make_statistics() | {"energy": {"mean": 0.0, "std": 0.0}}
    rules = score_rules("cvae", statistics, WEIGHTS, "x.pth")
    assert [term.error for term in rules["hybrid"].terms] == ["flow_error", "frame_error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow_error": {"mean": 1.0, "std": 0.0}}, "flow_error of the training cubes"),
        ({"frame_error": {"mean": float("nan"), "std": 1.0}}, "frame_error of the training"),
        ({"frame_error": None}, "no statistics of frame_error"),
    ],
)
def test_statistics_that_cannot_normalise_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        score_rules("finetune", make_statistics() | change, WEIGHTS, "x.pth")


def test_all_weights_zero_are_refused():
    with pytest.raises(UserError, match="must be above zero"):
        score_rules("finetune", make_statistics(), EvalConfig(w_flow=0, w_frame=0), "x.pth")


def test_frame_scores_by_hand():
    cube_scores = np.array([1.0, 5.0, 2.0, -3.0])
    per_video = frame_scores(
        cube_scores, np.array([0, 0, 2, 2]), np.array([1, 1, 0, 1]), [3, 2, 2], empty_score=-9.0
    )
    expected = [[-9.0, 5.0, -9.0], [-9.0, -9.0], [2.0, -3.0]]
    assert [video.tolist() for video in per_video] == expected


@given(SCORES, st.sampled_from([1, 3, 5, 17]))
def test_centred_median_is_scipys(scores, size):
    padded = np.concatenate([scores, np.zeros(20)])  # scipy warns about short inputs
    assert np.array_equal(centred_median(scores, size), medfilt(padded, size)[: len(scores)])


@given(SCORES, st.integers(1, 20), st.integers(1, 39))
def test_causal_median_never_looks_ahead(scores, size, cut):
    whole = causal_median(scores, size)
    assert np.array_equal(whole[:cut], causal_median(scores[:cut], size))
    assert whole[0] == scores[0]


@given(SCORES)
def test_stretch_keeps_the_order_within_the_unit_interval(scores):
    stretched = min_max_normalise(scores)
    assert stretched.min() >= 0 and stretched.max() <= 1
    order = np.argsort(scores, kind="stable")
    assert (np.diff(stretched[order]) >= 0).all()


def test_smoothing_of_a_video_shorter_than_the_trim_is_empty():
    assert len(Smoothing(trim=4)(np.ones(3))) == 0
    assert Smoothing(trim=0, kind="none")(np.array([3.0, 1.0])).tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("smoothing", "words"),
    [
        (Smoothing(), "median of 17 frames"),
        (Smoothing(kind="causal", size=5), "median of the last 5 frames"),
        (Smoothing(kind="none"), "none"),
        (Smoothing(size=1), "none"),
    ],
)
def test_smoothing_names_itself(smoothing, words):
    assert smoothing.describe() == words


def test_errors_are_collected_in_order():
    batches = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
    errors = collect_errors(batches, lambda batch: {"flow_error": batch * 2})
    assert errors["flow_error"].tolist() == [2.0, 4.0, 6.0]
    assert errors["flow_error"].dtype == np.float64


def test_no_cubes_and_broken_errors_are_refused():
    with pytest.raises(UserError, match="no cube to score"):
        collect_errors([], lambda batch: {})
    with pytest.raises(UserError, match="flow_error of cube 1 is nan"):
        collect_errors([np.array([1.0, np.nan])], lambda batch: {"flow_error": batch})


def test_statistics_by_hand():
    statistics = error_statistics({"flow_error": np.array([1.0, 3.0, 5.0])})
    entry = statistics["flow_error"]
    assert entry["mean"] == 3.0
    assert entry["std"] == pytest.approx(np.sqrt(8 / 3))  # population, not sample
    assert statistics["num_cubes"] == 3
    assert len(entry["quantiles"]) == len(QUANTILE_LEVELS) == len(statistics["quantile_levels"])
    assert entry["quantiles"][QUANTILE_LEVELS.index(0.5)] == 3.0
