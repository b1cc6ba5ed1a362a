"""Frame-level metrics against hand-computed cases, definitions and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation import metrics


@st.composite
def scored_frames(draw, both_classes: bool = True):
    """Scores with many ties, and labels."""
    size = draw(st.integers(2, 30))
    scores = np.array(draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size)), float)
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)), np.uint8)
    assume(not both_classes or 0 < labels.sum() < size)
    return scores, labels


@st.composite
def scored_videos(draw):
    videos = draw(st.lists(scored_frames(both_classes=False), min_size=1, max_size=4))
    return [scores for scores, _ in videos], [labels for _, labels in videos]


@given(scored_frames())
def test_auc_is_scikit_learns_and_its_own_definition(case):
    scores, labels = case
    abnormal, normal = scores[labels == 1][:, None], scores[labels == 0][None]
    wins = (abnormal > normal).mean() + 0.5 * (abnormal == normal).mean()
    assert metrics.auc(scores, labels) == pytest.approx(wins)
    assert metrics.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


@given(scored_frames())
def test_average_precision_is_scikit_learns_and_its_own_definition(case):
    scores, labels = case
    total, last_recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        alarm = scores >= threshold
        recall = (alarm & (labels == 1)).sum() / labels.sum()
        total += (recall - last_recall) * (alarm & (labels == 1)).sum() / alarm.sum()
        last_recall = recall
    assert metrics.average_precision(scores, labels) == pytest.approx(total)
    expected = average_precision_score(labels, scores)
    assert metrics.average_precision(scores, labels) == pytest.approx(expected)


@given(scored_frames())
def test_negated_scores_mirror_auc_and_error_rate(case):
    scores, labels = case
    assert metrics.auc(-scores, labels) == pytest.approx(1 - metrics.auc(scores, labels))
    mirrored = metrics.equal_error_rate(-scores, labels)
    assert mirrored == pytest.approx(1 - metrics.equal_error_rate(scores, labels))


@pytest.mark.parametrize("labels", [np.zeros(4), np.ones(4)])
def test_one_class_leaves_metrics_undefined(labels):
    scores = np.arange(4.0)
    assert math.isnan(metrics.auc(scores, labels))
    assert math.isnan(metrics.average_precision(scores, labels))
    assert math.isnan(metrics.equal_error_rate(scores, labels))
    assert math.isnan(metrics.best_f1(scores, labels).value)
    assert all(math.isnan(end) for end in metrics.bootstrap_micro_auc([scores], [labels]))


def test_micro_and_macro_differ_and_one_class_videos_are_left_out():
    scores = [np.array([0.0, 1.0]), np.array([10.0, 11.0]), np.array([99.0, 99.0])]
    labels = [np.array([0, 1]), np.array([0, 1]), np.array([0, 0])]
    macro = metrics.macro_auc(scores, labels)
    assert macro == (1.0, 2, 1)
    # 8 pairs; won: 1 over 0, 11 over 0 and 11 over 10
    assert metrics.micro_auc(scores, labels) == pytest.approx(3 / 8)
    assert math.isnan(metrics.macro_auc(scores[2:], labels[2:]).value)


def test_equal_error_rate_by_hand():
    labels = np.array([0, 0, 1, 1])
    assert metrics.equal_error_rate(np.array([0.0, 1.0, 2.0, 3.0]), labels) == 0.0
    assert metrics.equal_error_rate(np.array([0.0, 2.0, 1.0, 3.0]), labels) == 0.5
    assert metrics.equal_error_rate(np.zeros(4), labels) == 0.5
    # ROC (0,0) (0,1/3) (1/2,1/3) (1/2,1) (1,1): crosses (x, 1-x) at x = 1/2
    crossing = metrics.equal_error_rate(
        np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 1, 1, 0])
    )
    assert crossing == pytest.approx(0.5)


@given(scored_frames())
def test_best_f1_is_the_largest_over_all_thresholds(case):
    scores, labels = case
    values = {}
    for threshold in np.unique(scores):
        alarm = scores >= threshold
        values[threshold] = 2 * (alarm & (labels == 1)).sum() / (alarm.sum() + labels.sum())
    best = metrics.best_f1(scores, labels)
    assert best.value == pytest.approx(max(values.values()))
    assert values[best.threshold] == pytest.approx(best.value)


@given(st.lists(st.booleans(), max_size=30))
def test_runs_cover_exactly_the_mask(mask):
    rebuilt = np.zeros(len(mask), dtype=bool)
    for start, stop in metrics.runs(np.array(mask, dtype=bool)):
        assert start < stop and not rebuilt[max(0, start - 1) : stop].any()
        rebuilt[start:stop] = True
    assert rebuilt.tolist() == mask


def test_false_alarms_by_hand():
    scores = [np.array([1, 1, 0, 1, 1, 1, 0, 1.0]), np.array([0, 1.0])]
    labels = [np.array([0, 0, 0, 0, 1, 0, 0, 0]), np.array([0, 0])]
    # runs: frames 0-1 (false), 3-5 (touches the abnormal frame), 7 (false); second video: 1
    found = metrics.false_alarms(scores, labels, threshold=1.0, fps=9 / 1200)
    assert found.count == 3 and found.seconds == pytest.approx(1200)
    assert found.per_hour == pytest.approx(9)
    assert found.frames_per_thousand == pytest.approx(1000 * 6 / 9)


def test_a_few_seconds_tell_no_rate_per_hour():
    found = metrics.false_alarms([np.ones(175)], [np.zeros(175)], 0.5, fps=25.0)
    assert found.count == 1 and found.seconds == 7 and math.isnan(found.per_hour)
    assert math.isnan(metrics.per_hour(1, 599)) and metrics.per_hour(1, 600) == 6


def test_false_alarm_rate_without_normal_video_is_undefined():
    found = metrics.false_alarms([np.ones(3)], [np.ones(3)], 0.5, 25.0)
    assert found.count == 0 and math.isnan(found.per_hour)


def test_detection_delays_by_hand():
    scores = [np.array([9, 0, 0, 9, 0, 0, 0, 9.0])]
    labels = [np.array([0, 1, 1, 1, 0, 1, 1, 0])]
    found = metrics.detection_delays(scores, labels, threshold=5.0, fps=4.0)
    assert found == (2, 1, 0.5, 0.5)  # found after 2 frames; the second interval is missed
    assert math.isnan(metrics.detection_delays(scores, labels, 99.0, 4.0).mean_delay)


@settings(max_examples=30)
@given(scored_videos())
def test_pairwise_wins_give_the_micro_auc_of_any_draw(case):
    scores, labels = case
    wins, abnormal, normal = metrics._pairwise_wins(scores, labels)
    draw = np.random.default_rng(0).integers(0, 3, len(scores))
    drawn = np.repeat(np.arange(len(scores)), draw)
    pairs = (draw @ abnormal) * (draw @ normal)
    if pairs:
        expected = metrics.micro_auc([scores[i] for i in drawn], [labels[i] for i in drawn])
        assert draw @ wins @ draw / pairs == pytest.approx(expected)


def test_bootstrap_interval_is_seeded_and_holds_the_value():
    generator = np.random.default_rng(3)
    labels = [generator.integers(0, 2, 60) for _ in range(10)]
    scores = [generator.normal(size=60) + y for y in labels]
    low, high = metrics.bootstrap_micro_auc(scores, labels)
    assert (low, high) == metrics.bootstrap_micro_auc(scores, labels)
    assert low < metrics.micro_auc(scores, labels) < high
    assert (low, high) != metrics.bootstrap_micro_auc(scores, labels, seed=1)


def test_one_video_has_no_interval():
    labels = np.repeat([0, 1], 30)
    low, high = metrics.bootstrap_micro_auc([labels + 0.0], [labels])
    assert math.isnan(low) and math.isnan(high)


def test_bootstrap_over_equal_videos_has_no_width():
    scores, labels = np.array([0.0, 2.0, 1.0]), np.array([0, 1, 1])
    low, high = metrics.bootstrap_micro_auc([scores] * 3, [labels] * 3)
    assert low == pytest.approx(high) == pytest.approx(1.0)
