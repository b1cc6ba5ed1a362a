"""Region- and track-based detection against curves drawn by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.region_metrics import Regions, box_overlaps, region_metrics, true_regions
from utils.errors import UserError

BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (100.0, 100.0, 110.0, 110.0)


def regions(*rows: tuple) -> Regions:
    """Rows of (frame, box, score or track)."""
    return Regions(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[2] for row in rows], dtype=float),
    )


def test_overlap_by_hand():
    other = np.array([[5.0, 0.0, 15.0, 10.0], FAR, [2.0, 2.0, 4.0, 4.0], [3.0, 3.0, 3.0, 3.0]])
    overlaps = box_overlaps(np.array([BOX]), other)
    assert overlaps[0] == pytest.approx([50 / 150, 0.0, 4 / 100, 0.0])


def test_perfect_detection():
    true = regions((0, BOX, 1), (1, BOX, 1), (5, FAR, 2))
    found = region_metrics(regions((0, BOX, 3.0), (1, BOX, 2.0), (5, FAR, 1.0)), true, 10)
    assert found == (1.0, 1.0, 3, 2)


def test_nothing_detected_and_nothing_to_detect():
    assert region_metrics(regions(), regions((0, BOX, 1)), 4)[:2] == (0.0, 0.0)
    assert math.isnan(region_metrics(regions((0, BOX, 1.0)), regions(), 4).rbdc)


def test_curve_by_hand():
    """Four frames. By falling score: a hit, a false positive, a hit, a false positive.

    Points (false positives a frame, share found): (0, 1/2) (1/4, 1/2) (1/4, 1) (1/2, 1).
    Area: 1/4 * 1/2 + 3/4 * 1 = 7/8.
    """
    true = regions((0, BOX, 1), (1, BOX, 1))
    detected = regions((0, BOX, 4.0), (2, BOX, 3.0), (1, BOX, 2.0), (0, FAR, 1.0))
    found = region_metrics(detected, true, 4)
    assert found.rbdc == pytest.approx(7 / 8)
    assert found.tbdc == pytest.approx(1.0)  # the first hit is over a tenth of the track


def test_equal_scores_make_a_slope():
    """One threshold admits the hit and two false positives in two frames: from (0,0) to (1,1)."""
    detected = regions((0, BOX, 1.0), (1, BOX, 1.0), (1, FAR, 1.0))
    assert region_metrics(detected, regions((0, BOX, 1)), 2).rbdc == pytest.approx(0.5)


def test_curve_is_cut_at_one_false_positive_a_frame():
    """Points (0,0) (2,0) (2,1): the hit comes too late."""
    detected = regions((0, FAR, 3.0), (0, FAR, 2.0), (0, BOX, 1.0))
    assert region_metrics(detected, regions((0, BOX, 1)), 1).rbdc == 0.0


def test_a_segment_that_crosses_one_is_cut_linearly():
    """One threshold: from (0,0) to (2,1), so 1/2 at 1 and an area of 1/4."""
    detected = regions((0, FAR, 1.0), (0, FAR, 1.0), (0, BOX, 1.0))
    assert region_metrics(detected, regions((0, BOX, 1)), 1).rbdc == pytest.approx(0.25)


def test_a_curve_that_reaches_one_exactly_takes_the_first_point_there():
    """From (0,0) to (1,1/2), then up to (1,1): area 1/4."""
    detected = regions((0, BOX, 2.0), (0, FAR, 2.0), (1, FAR, 2.0), (1, BOX, 1.0))
    true = regions((0, BOX, 1), (1, BOX, 2))
    assert region_metrics(detected, true, 2).rbdc == pytest.approx(0.25)


def test_a_detection_in_another_frame_finds_nothing():
    found = region_metrics(regions((1, BOX, 1.0)), regions((0, BOX, 1)), 2)
    assert found.rbdc == 0.0


def test_overlap_of_exactly_a_tenth_counts():
    detected = regions((0, (0.0, 0.0, 1.0, 10.0), 1.0))
    assert region_metrics(detected, regions((0, BOX, 1)), 1).rbdc == 1.0
    narrower = regions((0, (0.0, 0.0, 0.9, 10.0), 1.0))
    assert region_metrics(narrower, regions((0, BOX, 1)), 1).rbdc == 0.0


def test_a_track_needs_a_tenth_of_its_regions():
    """30 regions need three; two are found, so the track is not, and rbdc is 2/30."""
    true = regions(*((frame, BOX, 7) for frame in range(30)))
    two = region_metrics(regions((0, BOX, 1.0), (1, BOX, 1.0)), true, 30)
    assert (two.rbdc, two.tbdc) == (pytest.approx(2 / 30), 0.0)
    three = region_metrics(regions(*((frame, BOX, 1.0) for frame in range(3))), true, 30)
    assert (three.rbdc, three.tbdc) == (pytest.approx(3 / 30), 1.0)


def test_one_detection_may_find_two_regions():
    true = regions((0, BOX, 1), (0, (1.0, 1.0, 11.0, 11.0), 2))
    assert region_metrics(regions((0, BOX, 1.0)), true, 1)[:2] == (1.0, 1.0)


def row(video: str, frame: int, track: int) -> SimpleNamespace:
    return SimpleNamespace(video=video, frame=frame, track=track, x1=1, y1=2, x2=3, y2=4)


def test_labelled_regions_are_numbered_over_all_videos():
    rows = [row("b", 1, 0), row("a", 2, 0), row("b", 0, 0), row("b", 0, 5), row("other", 9, 0)]
    true = true_regions(rows, ["a", "b"], [3, 2])
    assert true.frame.tolist() == [4, 2, 3, 3]
    assert true.boxes.tolist() == [[1, 2, 3, 4]] * 4
    first, other_video, same, other_track = true.value.tolist()
    assert first == same and len({first, other_video, other_track}) == 3
    assert len(true_regions([], ["a"], [3]).boxes) == 0


def test_a_region_after_the_end_of_its_video_is_named():
    with pytest.raises(UserError, match="'a' has a region in frame 3, but only 3 frames"):
        true_regions([row("a", 3, 0)], ["a"], [3])


@given(st.integers(0, 10_000))
def test_metrics_stay_within_bounds_and_ignore_monotone_changes(seed):
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 20, (12, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 12, (12, 2))], axis=1)
    frame, score = generator.integers(0, 4, 12), generator.integers(0, 5, 12).astype(float)
    true = Regions(frame[:6], boxes[6:], generator.integers(0, 2, 6))
    detected = Regions(frame, boxes, score)
    found = region_metrics(detected, true, 4)
    assert 0 <= found.rbdc <= 1 and 0 <= found.tbdc <= 1
    assert region_metrics(detected._replace(value=np.exp(score)), true, 4) == found
