"""Made scenes: who walks which way, what is labelled, a data set that can be read back."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.made_scenes import CHANGES, enlarged_part, make_scene, write_scene
from datasets.labels.frame_labels import load_labels
from datasets.manifest import load_dataset

LENGTH, HEIGHT, WIDTH = 120, 96, 128


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    """One walks to the left and, lower down, one to the right, again and again."""
    generator = np.random.default_rng(0)
    ground = generator.integers(90, 110, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    coat = generator.integers(0, 255, (24, 10, 3)).astype(np.uint8)
    frames = np.repeat(ground[None], LENGTH, axis=0)
    for time, frame in enumerate(frames):
        left = (WIDTH - 12 - 2 * time) % (WIDTH - 12)
        right = 2 * time % (WIDTH - 12)
        frame[10:34, left : left + 10] = coat
        frame[60:84, right : right + 10] = coat
    return frames


def test_every_change_makes_a_labelled_video(street, tmp_path):
    training, tests = make_scene([street], 2.0, 0)
    assert len(training) == 1 and len(training[0]) == 66
    assert set(tests) == set(CHANGES) - {"reversed"}
    for frames, labels in tests.values():
        assert len(frames) == len(labels) and 0 < labels.sum() < len(labels)
    write_scene(tmp_path / "street", training, tests, 10.0)
    assert len(load_dataset(tmp_path / "street").videos("testing")) == len(tests)
    assert set(load_labels(tmp_path / "street")) == set(tests)


def test_reversed_walkers_alone_walk_to_the_right(street):
    training, tests = make_scene([street], 2.0, 0, ["reversed"])
    people = np.abs(training[0].astype(int) - np.median(street, axis=0)).max(axis=3) > 40
    assert people[:, 10:34].sum() > 20 * people[:, 50:].sum()  # not none: they jump back at the end
    frames, labels = tests["reversed"]
    assert set(tests) == {"reversed"} and 0 < labels.sum() < len(labels)
    assert len(frames) == LENGTH - 66


def test_of_several_videos_the_last_is_changed(street):
    training, tests = make_scene([street[:60], street[60:90], street[90:]], 2.0, 0, ["speedup"])
    assert [len(each) for each in training] == [60, 30]
    assert len(tests["speedup"][0]) == 30 - 15 + 5


def test_a_part_is_enlarged(street):
    part = enlarged_part(street[:2], (0.5, 0.5, 0.25, 0.5))
    assert part.shape == (2, 192, WIDTH, 3)
