"""Judging scores with labels, and choosing the moments that are worth a look."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import highlights
from evaluation.evaluate import Threshold, ablate, evaluate
from evaluation.metrics import micro_auc
from evaluation.region_metrics import Regions
from evaluation.scales import RAW, ZScore
from evaluation.scored_cubes import ScoredCubes, frame_numbers, match_labels
from evaluation.scores import ScoreRule, Term
from evaluation.selection import best_on_test
from evaluation.smoothing import Smoothing
from utils.errors import UserError

RULES = {
    "hybrid": ScoreRule("hybrid", (Term("flow_error", 2.0, ZScore(1.0, 1.0)),)),
    "no learning": ScoreRule("no learning", (Term("energy", 1.0, RAW),)),
}
PLAIN = Smoothing(trim=0, kind="none", size=1)


def cubes_of(*videos: list[float]) -> ScoredCubes:
    """One cube a frame with the given flow error, none where it is negative."""
    rows = [
        (number, frame, error)
        for number, errors in enumerate(videos)
        for frame, error in enumerate(errors)
        if error >= 0
    ]
    errors = np.array([row[2] for row in rows], dtype=float)
    return ScoredCubes(
        videos=[f"v{number}" for number in range(len(videos))],
        num_frames=[len(errors) for errors in videos],
        video_index=np.array([row[0] for row in rows]),
        frames=np.array([row[1] for row in rows]),
        boxes=np.tile(np.array([[0.0, 0.0, 8.0, 8.0]]), (len(rows), 1)),
        errors={"flow_error": errors, "energy": errors[::-1].copy()},
    )


def judged(*videos, labels=None, smoothing=PLAIN, threshold=None, regions=None):
    truth = labels and {f"v{i}": np.array(y) for i, y in enumerate(labels)}
    limit = None if threshold is None else Threshold(threshold, "given")
    return evaluate(cubes_of(*videos), RULES, smoothing, truth, "last", 10.0, regions, limit)


def test_numbers_of_a_small_case():
    found = judged([0, 3, 1, -1], [2, 2], labels=[[0, 1, 1, 0], [0, 0]])
    assert found.primary.raw[0].tolist() == [-2.0, 4.0, 0.0, -2.0]  # empty: zero error
    numbers = found.primary.metrics
    assert numbers["auc_micro"] == pytest.approx(6 / 8)
    assert numbers["auc_macro"] == 1.0 and numbers["auc_macro_videos"] == 1
    assert found.protocol["frames"] == "6 (2 abnormal)"
    assert found.threshold.source == "best F1, chosen with the test labels"
    assert list(found.branches) == ["hybrid", "no learning"]
    assert "checkpoint: last; score: 2 * z(flow_error)" in found.protocol_line


def test_trimming_drops_labels_with_their_frames():
    found = judged([9, 0, 3], [9], labels=[[0, 0, 1], [0]], smoothing=Smoothing(1, "none"))
    assert found.primary.metrics["auc_micro"] == 1.0
    assert found.protocol["videos"] == "1" and found.protocol["frames"] == "2 (1 abnormal)"


def test_regions_add_their_metrics():
    regions = Regions(np.array([1]), np.array([[0.0, 0.0, 8.0, 8.0]]), np.array([0]))
    found = judged([0, 3], labels=[[0, 1]], regions=regions)
    assert (found.primary.metrics["rbdc"], found.primary.metrics["tbdc"]) == (1.0, 1.0)


def test_nothing_left_after_trimming_is_refused():
    with pytest.raises(UserError, match="longer than the 4 frames"):
        judged([1, 2, 3], smoothing=Smoothing(trim=4))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"v0": np.zeros(3)}, "no labels of test video 'v1'"),
        ({"v0": np.zeros(3), "v1": np.zeros(3)}, "'v1' has 3 labels and 2 frames"),
        ({"v0": np.zeros(3), "v1": np.zeros((2, 1))}, "'v1' has"),
        ({"v0": np.array([0, 2, 0]), "v1": np.zeros(2)}, "'v0': labels must be 0"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, message):
    with pytest.raises(UserError, match=message):
        match_labels(cubes_of([1, 1, 1], [1, 1]), labels)


def test_frame_numbers_go_on_from_video_to_video():
    numbers = frame_numbers([3, 2, 4], np.array([0, 1, 2]), np.array([2, 0, 3]))
    assert numbers.tolist() == [2, 3, 8]


def test_ablation_repeats_the_main_number_and_knows_every_choice():
    generator = np.random.default_rng(0)
    videos = [generator.uniform(0, 5, 30).tolist() for _ in range(3)]
    labels = [(generator.random(30) > 0.6).astype(int).tolist() for _ in range(3)]
    found = judged(*videos, labels=labels, smoothing=Smoothing(trim=2, size=5))
    rows = ablate(found)
    assert len(rows) == 6
    by_choice = {(row["smoothing"], row["normalisation"]): row for row in rows}
    same = by_choice["median of 5 frames", "training statistics"]
    assert same["hybrid"] == found.primary.metrics["auc_micro"]
    assert same["no learning"] == found.branches["no learning"].metrics["auc_micro"]
    raw = [video[2:] for video in found.primary.raw]
    stretched = [(v - v.min()) / (v.max() - v.min()) for v in raw]
    plain = by_choice["none", "min-max of each video"]
    assert plain["hybrid"] == pytest.approx(micro_auc(stretched, found.labels))
    assert ablate(judged([1, 2])) == []


def test_best_on_test_needs_labels_and_marks_every_name():
    good = judged([0, 3], labels=[[0, 1]])
    bad = judged([3, 0], labels=[[0, 1]])
    place, found = best_on_test([bad, good, bad])
    assert place == 1 and found.best_on_test and not good.best_on_test
    assert list(found.branches) == ["hybrid, best on test", "no learning", "hybrid, last epoch"]
    assert found.primary.metrics["auc_micro"] == 1.0
    assert found.branches["hybrid, last epoch"].metrics["auc_micro"] == 0.0
    with pytest.raises(UserError, match="there are none of both classes"):
        best_on_test([judged([1, 2])])


def test_false_alarms_are_whole_runs_highest_first():
    found = judged(
        [5, 6, 0, 9, 9], [0, 8, 0, 0, 0], labels=[[0, 0, 0, 0, 1], [0] * 5], threshold=6.0
    )
    alarms = highlights.false_alarms(found, 5)
    assert [(m.video, m.peak, m.start, m.stop) for m in alarms] == [(1, 1, 1, 2), (0, 1, 0, 2)]
    assert [m.score for m in alarms] == [14.0, 10.0]
    assert [m.abnormal for m in alarms] == [False, False]
    assert highlights.false_alarms(found, 1) == alarms[:1]


def test_misses_are_whole_intervals_lowest_first_even_without_boxes():
    labels = [[1, 1, 0, 1, 0, 1, 1]]
    found = judged([9, 0, 0, 2, 0, -1, -1], labels=labels, threshold=6.0)
    missed = highlights.misses(found, 5)
    assert [(m.start, m.stop, m.score) for m in missed] == [(5, 7, -2.0), (3, 4, 2.0)]
    assert missed[0].cube is None and found.cubes.frames[missed[1].cube] == 3


def test_peaks_keep_their_distance_and_count_frames_from_the_video_start():
    errors = [1.0] * 60
    errors[10], errors[12], errors[40] = 9.0, 8.0, 5.0
    found = judged(errors, smoothing=Smoothing(trim=4, kind="none", size=1))
    peaks = highlights.video_peaks(found, 0, 2)
    assert [(m.peak, m.frame) for m in peaks] == [(10, 10), (40, 40)]
    assert peaks[0].abnormal is None
    assert highlights.video_peaks(judged([-1, -1], [1, 1]), 0, 3) == []


def test_the_cube_of_a_smoothed_peak_is_the_highest_within_its_window():
    errors = [0, 0, 0, 5, 7, 6, 0, 0, 9]
    found = judged(errors, smoothing=Smoothing(trim=0, size=3))
    (peak,) = highlights.video_peaks(found, 0, 1)
    assert peak.score == 10.0 and peak.peak in (4, 5) and peak.frame == 4


def test_videos_come_worst_first():
    labels = [[0, 1], [0, 1], [0, 1]]
    found = judged([0, 9], [9, 0], [9, 9], labels=labels, threshold=6.0)
    assert highlights.videos_worst_first(found) == [1, 2, 0]
    assert highlights.videos_worst_first(judged([0, 1], [9, 9], [3, 3])) == [1, 2, 0]
    trimmed = judged([0, 1, 2], [9], smoothing=Smoothing(trim=1, kind="none"))
    assert highlights.videos_worst_first(trimmed) == [0]
