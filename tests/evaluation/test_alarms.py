"""Thresholds from normal scores, alarms from thresholds, smoothing without a look ahead."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.alarms import AlarmRule, AlarmStats, AlarmTracker, find_alarms
from evaluation.calibration import (
    Rate,
    calibrate,
    calibrate_stage,
    expected,
    require_same_score,
    threshold_for,
)
from evaluation.metrics import runs
from evaluation.scales import RAW
from evaluation.scores import ScoreRule, Term, error_statistics
from evaluation.smoothing import CausalSmoother, Smoothing, causal_median
from utils.config.hf2vad import EvalConfig
from utils.errors import UserError

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=60).map(lambda v: np.array(v, float))
RULE, SMOOTHING = ScoreRule("x", (Term("flow_error", 1.0, RAW),)), Smoothing()


def normal_scores(videos=6, length=400):
    """Smooth random scores with an exponential tail, as squared errors have."""
    rng = np.random.default_rng(3)
    noise = rng.exponential(size=(videos, length + 8))
    return [np.convolve(row, np.ones(9) / 9, "valid") for row in noise]


@given(SCORES, st.integers(1, 9))
def test_causal_smoothing_is_that_of_whole_videos(scores, size):
    smoother = CausalSmoother(size)
    for _ in range(2):  # the second time after a restart
        pushed = [smoother.push(score) for score in scores.tolist()]
        np.testing.assert_array_equal(pushed, causal_median(scores, size))
        smoother.restart()


@given(SCORES, st.integers(-6, 6), st.integers(0, 100))
def test_alarms_are_runs_with_their_peak(scores, threshold, first):
    alarms = find_alarms("v", scores, AlarmRule(threshold), 10.0, first)
    assert [(a.start - first, a.stop - first) for a in alarms] == runs(scores >= threshold)
    for alarm in alarms:
        inside = scores[alarm.start - first : alarm.stop - first]
        assert alarm.score == inside.max()
        assert alarm.peak == alarm.start + int(np.argmax(inside))


def test_a_running_alarm_is_seen_and_closed():
    tracker = AlarmTracker("camera", AlarmRule(2.0), frame_seconds=0.5)
    assert tracker.push(7, 1.0, 3.5) == [] and tracker.running is None
    ((kind, started),) = tracker.push(8, 2.0, 4.0)
    assert kind == "started" and tracker.running == started and started.start == 8
    assert tracker.push(9, 5.0, 4.5) == []
    ((kind, ended),) = tracker.push(10, 1.9, 5.0)
    assert kind == "ended" and tracker.running is None
    assert (ended.start, ended.stop, ended.peak, ended.score) == (8, 10, 9, 5.0)
    assert (ended.start_seconds, ended.end_seconds, ended.peak_seconds) == (4.0, 5.0, 4.5)
    assert tracker.close() == []
    assert find_alarms("v", np.array([9.0]), AlarmRule(None), 25.0) == []


def plain_alarms(scores, threshold, merge, shortest):
    """Runs of frames, those with a gap of fewer than ``merge`` frames joined, then short ones."""
    joined = []
    for start, stop in runs(scores >= threshold):
        if joined and start - joined[-1][1] < merge:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return [(start, stop) for start, stop in joined if stop - start >= shortest]


@given(SCORES, st.integers(-6, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 99))
def test_short_gaps_are_merged_and_short_alarms_dropped(scores, threshold, merge, shortest, first):
    fps = 10.0
    rule = AlarmRule(threshold, merge / fps, shortest / fps)
    found = [(a.start - first, a.stop - first) for a in find_alarms("v", scores, rule, fps, first)]
    assert found == plain_alarms(scores, threshold, merge, shortest)


def test_an_alarm_starts_when_it_is_long_enough_and_ends_when_the_gap_is():
    tracker = AlarmTracker("camera", AlarmRule(1.0, 0.3, 0.2), frame_seconds=0.1)
    told = {}
    for frame, score in enumerate([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]):
        events = tracker.push(frame, score, frame / 10)
        told |= {frame: [(kind, a.start, a.stop) for kind, a in events]} if events else {}
    # The two frames behind each other start it, a gap of two frames is none; the last one is short.
    assert told == {2: [("started", 1, 3)], 9: [("ended", 1, 6)]}


def test_lost_frames_are_a_gap_as_long_as_they_lasted():
    for lost, kinds in ((1.0, ["started"]), (5.0, ["started", "ended", "started"])):
        tracker = AlarmTracker("camera", AlarmRule(1.0, 2.0), frame_seconds=0.1)
        events = tracker.push(10, 2.0, 1.0) + tracker.push(40, 2.0, 1.1 + lost)
        assert [kind for kind, _ in events] == kinds


def test_an_alarm_as_json_counts_frames_and_seconds():
    scores = np.array([0.0, 3.0, 4.0, 0.0])
    (alarm,) = find_alarms("v", scores, AlarmRule(3.0), 2.0, first_frame=4)
    told = alarm.as_json()
    assert (told["start_frame"], told["end_frame"], told["peak_frame"]) == (5, 6, 6)
    assert (told["start_seconds"], told["end_seconds"], told["peak_seconds"]) == (2.5, 3.5, 3.0)
    seen = AlarmStats(alarms=1, alarm_frames=2, frames=100, seconds=50.0)
    assert (seen.alarms_per_hour, seen.frames_per_thousand) == (None, 20.0)
    assert seen.describe() == "1 alarm in 50.0 s; 2 of 100 frames at or above the threshold"
    hours = AlarmStats(alarms=3, alarm_frames=70, frames=90_000, seconds=5400.0)
    assert hours.alarms_per_hour == 2.0 and hours.as_json()["alarms_per_hour"] == 2.0
    assert hours.describe().startswith("3 alarms in 1 h 30 min, 2 an hour; 70 of 90000 frames")


@settings(max_examples=30)
@given(
    st.floats(0.05, 900),
    st.sampled_from(["alarms_per_hour", "frames_per_thousand"]),
    st.floats(1, 60),
)
def test_a_threshold_keeps_the_stated_rate_on_the_videos_it_is_from(value, unit, fps):
    scores = normal_scores()
    table = calibrate(scores, "s", "m")
    threshold = threshold_for(table, Rate(value, unit), fps)
    alarms = [a for video in scores for a in find_alarms("v", video, AlarmRule(threshold), fps)]
    frames = sum(map(len, scores))
    seen = AlarmStats(len(alarms), sum(a.stop - a.start for a in alarms), frames, frames / fps)
    hourly = 3600 * seen.alarms / seen.seconds
    observed = hourly if unit == "alarms_per_hour" else seen.frames_per_thousand
    assert observed <= value * (1 + 1e-9)
    told = expected(table, threshold, fps)
    if told.is_extrapolated:
        assert seen.alarms == 0 and getattr(told, unit) <= value * (1 + 1e-6)
    else:
        assert told.alarms_per_hour == pytest.approx(hourly)
        assert told.frames_per_thousand == pytest.approx(seen.frames_per_thousand)


def test_a_lower_rate_needs_a_higher_threshold():
    table = calibrate(normal_scores(), "s", "m")
    rates = (300.0, 30.0, 3.0, 0.3, 0.03, 0.003)
    for unit in ("alarms_per_hour", "frames_per_thousand"):
        found = [threshold_for(table, Rate(rate, unit), fps=10.0) for rate in rates]
        assert found == sorted(found) and len(set(found)) >= 5


def test_beyond_the_highest_score_the_tail_goes_on_exponentially():
    rng = np.random.default_rng(0)
    seen, unseen = rng.exponential(size=4000), rng.exponential(size=400_000)
    table = calibrate([seen], "s", "m")
    threshold = threshold_for(table, Rate(0.05, "frames_per_thousand"), fps=25.0)
    told = expected(table, threshold, fps=25.0)
    assert threshold > seen.max() and told.is_extrapolated and "extrapolated" in told.describe()
    assert told.frames_per_thousand == pytest.approx(0.05, rel=1e-6)
    # The true quantile is ln(20000) = 9.9; the rate seen on new data is of the right size.
    assert 0.01 < 1000 * (unseen >= threshold).mean() < 0.25


def test_constant_scores_still_give_a_threshold_above_them():
    table = calibrate([np.zeros(50)], "s", "m")
    assert threshold_for(table, Rate(1, "frames_per_thousand"), 25.0) > 0
    assert threshold_for(table, Rate(1000, "frames_per_thousand"), 25.0) == 0
    assert expected(table, 0.5, 25.0).alarms_per_hour == pytest.approx(0)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "often"])
def test_impossible_rates_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number above 0"):
        Rate.per_hour(text)


def test_a_table_of_another_score_is_refused():
    table = calibrate([np.arange(9.0)], "flow_error", "median of 17 frames after dropping 4")
    assert require_same_score(table, RULE, SMOOTHING, "x.pth") is table
    with pytest.raises(UserError, match=r"x\.pth.*calibrated for smoothing.*--threshold"):
        require_same_score(table, RULE, Smoothing(trim=0), "x.pth")
    with pytest.raises(UserError, match="no threshold was calibrated"):
        require_same_score(None, RULE, SMOOTHING, "x.pth")


def test_a_stage_calibrates_on_the_frames_of_its_training_videos():
    errors = {"flow_error": np.arange(30.0), "energy": np.ones(30)}
    cubes = SimpleNamespace(
        videos=["a", "b"],
        num_frames={"a": 20, "b": 10},
        video_index=np.repeat([0, 1], [20, 10]),
        frames=np.concatenate([np.arange(20), np.arange(10)]),
    )
    config = EvalConfig(trim=4, median=1, false_frames_per_thousand=100)
    found = calibrate_stage("ml_memae_sc", cubes, config, errors, error_statistics(errors))
    kept = np.concatenate([np.arange(4.0, 20), np.arange(24.0, 30)])
    assert found["calibration"]["num_frames"] == len(kept)
    assert found["threshold"] == 28.0  # two of 22 frames are within a tenth of them
    assert calibrate_stage("finetune", cubes, config, errors, {"num_cubes": 30}) == {}
    short = EvalConfig(trim=25, median=1)
    statistics = error_statistics(errors)
    assert calibrate_stage("ml_memae_sc", cubes, short, errors, statistics) == {}
