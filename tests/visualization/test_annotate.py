"""Annotated pictures and videos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from utils.errors import UserError
from visualization.annotate import Annotator, ScoreScale
from visualization.video_writer import VideoWriter
from visualization.zone_overlay import ZoneOverlay

SCALE = ScoreScale(calm=-1.0, alarming=3.0)


def draw(annotator, score, boxes=(), box_scores=(), shape=(61, 97, 3)):
    frame = np.full(shape, 120, np.uint8)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return annotator.draw(frame, boxes, list(box_scores), score, "street  frame 7")


def test_colours_go_from_calm_to_alarming():
    blue, green, red = SCALE.colour(-1.0)
    assert blue > red and SCALE.colour(-50.0) == (blue, green, red)
    blue, green, red = SCALE.colour(3.0)
    assert red > blue and red > green and SCALE.colour(99.0) == (blue, green, red)
    assert SCALE.level(1.0) == 0.5


@pytest.mark.parametrize("shape", [(61, 97, 3), (360, 480, 3), (240, 361, 3), (720, 1280, 3)])
def test_pictures_have_even_sides_and_small_ones_are_enlarged(shape):
    picture = draw(Annotator(SCALE, 3.0), 0.5, shape=shape)
    height, width = picture.shape[:2]
    assert height % 2 == width % 2 == 0 and width >= 480 and picture.dtype == np.uint8


def test_an_alarm_is_framed_and_a_calm_frame_is_not():
    annotator = Annotator(SCALE, 3.0)
    calm, alarm = draw(annotator, 2.9), draw(annotator, 3.0)
    assert tuple(alarm[200, 1]) == SCALE.colour(99.0) and tuple(calm[200, 1]) == (120, 120, 120)
    assert tuple(draw(Annotator(SCALE, None), 99.0)[200, 1]) == (120, 120, 120)


def test_a_threshold_below_a_calm_score_is_drawn_at_the_edge():
    picture = draw(Annotator(ScoreScale(calm=1.0, alarming=-99.0), -99.0), 0.5)
    assert tuple(picture[200, 1]) == SCALE.colour(99.0)


def test_boxes_take_the_colour_of_their_score_with_the_highest_on_top():
    same = [10, 20, 60, 50]
    picture = draw(Annotator(SCALE, None), None, [same, same], [3.5, -1.0])
    assert tuple(picture[35 * 5, 10 * 5]) == SCALE.colour(3.5)


def test_the_curve_remembers_its_length_only():
    annotator = Annotator(SCALE, 3.0, length=20)
    for score in [None, *np.linspace(-5, 9, 60).tolist()]:
        draw(annotator, score)
    assert len(annotator._recent) == 20


def test_frames_that_were_lost_are_a_gap_in_the_curve():
    annotator = Annotator(SCALE, None, length=50)
    for lost in [0] * 10 + [20] + [0] * 9:
        frame = np.full((61, 97, 3), 120, np.uint8)
        picture = annotator.draw(frame, np.zeros((0, 4)), [], 1.0, "", lost)
    blue, green, red = SCALE.colour(1.0)
    line = (np.abs(picture[-80:].astype(int) - (blue, green, red)).sum(axis=2) < 40).any(axis=0)
    columns = np.flatnonzero(line)
    step = (picture.shape[1] - 1) / 49
    assert np.diff(columns).max() == pytest.approx(21 * step, abs=5)
    assert columns[0] == pytest.approx(10 * step, abs=4)  # 40 of 50 frames are there


def test_zones_are_drawn_under_the_boxes():
    def outlines(width, height):
        assert (width, height) == (97, 61)
        left = [[0, 0], [40, 0], [40, 61], [0, 61]]
        return [np.array(left, np.float32)[:, None]], [
            np.array([[50, 5], [90, 5], [90, 50]])[:, None]
        ]

    annotator = Annotator(SCALE, None, zones=ZoneOverlay(outlines))
    picture = draw(annotator, None, [[10, 20, 30, 50]], [3.0])
    assert (picture[150, 20] == 78).all() and (picture[150, 400] == 120).all()  # darkened, or not
    assert tuple(picture[35 * 5, 10 * 5]) == SCALE.colour(3.0)
    assert picture[5 * 5, 70 * 5, 1] > 150 > picture[5 * 5, 70 * 5, 2]  # a green line


def test_a_video_is_whole_or_not_there(tmp_path):
    picture = np.zeros((64, 96, 3), np.uint8)
    path = tmp_path / "deep" / "a.mp4"
    with VideoWriter(path, 10.0) as out:
        for _ in range(200):  # the encoder keeps the first ones back
            out.write(picture)
        assert not path.exists() and any(path.parent.iterdir())
        assert out.fits(picture) and not out.fits(picture[:32])
    assert cv2.VideoCapture(str(path)).read()[0]
    with pytest.raises(KeyError), VideoWriter(tmp_path / "b.mp4", 10.0) as out:
        out.write(picture)
        raise KeyError
    with VideoWriter(tmp_path / "c.mp4", 10.0):
        pass
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deep"]


def test_a_video_that_cannot_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="--no_video"):
        VideoWriter(tmp_path / "a.unknown", 10.0).write(np.zeros((64, 96, 3), np.uint8))
