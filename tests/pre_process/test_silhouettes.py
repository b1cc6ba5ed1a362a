"""Silhouettes of several people taken apart: what is joined again, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.cubes.settings import require_configured
from pre_process.cubes.settings import cube_settings
from pre_process.detectors.motion import MotionDetector
from pre_process.detectors.silhouettes import TypicalHeight, split_silhouette
from tests.helpers.tiny_videos import make_dataset
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError

PERSON = (30, 12)


def test_the_typical_height_is_known_after_some_silhouettes():
    typical = TypicalHeight()
    typical.push(np.full(29, 20.0))
    assert typical() == np.inf
    typical.push(np.array([200.0, 20.0, 20.0]))
    assert typical() == 20


def test_parts_of_a_person_are_joined_and_people_are_not():
    mask = np.zeros((80, 12), np.uint8)
    for top, bottom in ((0, 8), (10, 30), (34, 40), (42, 64)):  # head and body, twice
        mask[top:bottom] = 1
    mask[78:80, :4] = 1  # a speck
    found = split_silhouette(mask, 40, 9)
    np.testing.assert_array_equal(found[found[:, 1].argsort()], [[0, 0, 12, 30], [0, 34, 12, 64]])


def test_a_part_that_is_too_tall_by_itself_stays_whole():
    np.testing.assert_array_equal(
        split_silhouette(np.ones((80, 40), np.uint8), 40, 9), [[0, 0, 40, 80]]
    )


def test_parts_far_apart_or_beside_each_other_are_not_joined():
    mask = np.zeros((40, 30), np.uint8)
    mask[:10, :10] = mask[:10, 20:] = mask[25:, :10] = 1
    assert len(split_silhouette(mask, 100, 9)) == 3


def walkers(count: int) -> np.ndarray:
    """People walk to the right; then ``count`` of them, one above the other."""
    height, width = PERSON
    frames = np.full((90, 160, 200, 3), 90, np.uint8)
    for time, frame in enumerate(frames):
        left = 2 * time
        rows = [20, 100] if time < 70 else [20 + (height + 3) * person for person in range(count)]
        for top in rows:
            frame[top : top + height, left : left + width] = 220
    return frames


def test_people_above_each_other_get_a_box_each():
    frames = list(walkers(2))
    boxes = MotionDetector(tallest=1.35, gap=1 / 27).detect(frames)[-1]
    whole = MotionDetector(gap=1 / 27).detect(frames)[-1]
    assert (boxes[:, 3] - boxes[:, 1]).max() < 40 and len(boxes) >= 2
    assert (whole[:, 3] - whole[:, 1]).max() > 60


def test_the_tallest_silhouette_is_a_setting_where_it_has_an_effect(tmp_path):
    dataset = make_dataset(tmp_path / "tiny")

    def settings_of(**boxes) -> dict:
        return cube_settings(configured(**boxes), dataset)

    key = "boxes.tallest"
    assert settings_of(tallest=1.35)[key] == 1.35
    assert key not in settings_of() and key not in settings_of(backend="yolox", tallest=1.35)
    folder = dataset.root / "cubes" / "training"
    require_configured(settings_of(tallest=1.35), configured(tallest=1.35), folder, "01")
    for made, now in ((0, 1.35), (1.35, 0), (1.35, 1.5)):
        with pytest.raises(UserError, match=r"boxes\.tallest"):
            require_configured(settings_of(tallest=made), configured(tallest=now), folder, "01")


def configured(**boxes) -> PreProcessConfig:
    return PreProcessConfig(boxes=boxes)
