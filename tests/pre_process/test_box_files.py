"""Boxes kept in files: our own, and the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pre_process.detectors.box_files import box_file, load_boxes, save_boxes
from pre_process.detectors.build import build_box_source
from tests.helpers.tiny_videos import make_dataset
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError


def file_config(**keys: object) -> PreProcessConfig:
    return PreProcessConfig(boxes={"backend": "file", "score_threshold": 1, **keys})


def test_own_box_files_are_given_as_they_are(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "tiny")
    entry = dataset.videos("testing")[0]
    boxes = [np.full((i % 3, 4), i, np.float32) for i in range(entry.num_frames)]
    save_boxes(box_file(dataset.root, entry), boxes, {"a": 1})
    source = build_box_source(file_config(), dataset)
    assert not source.needs_following, "boxes/ holds moving regions already"
    source.start(entry)
    found = source([None] * 4, None) + source([None] * 6, None)
    for one, other in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(one, other)


def published(counts: list[int]) -> np.ndarray:
    array = np.empty(len(counts), object)
    for index, count in enumerate(counts):
        array[index] = np.full((count, 4), index, np.float64)
    return array


def test_published_files_are_cut_into_videos(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "tiny")  # training videos of 9 and 12 frames, one of 10
    np.save(tmp_path / "train.npy", published([i % 3 for i in range(21)]), allow_pickle=True)
    np.save(tmp_path / "test.npy", published([1] * 10), allow_pickle=True)
    names = {
        "training_file": str(tmp_path / "train.npy"),
        "testing_file": str(tmp_path / "test.npy"),
    }
    source = build_box_source(file_config(**names, moving_regions={"enabled": False}), dataset)
    source.start(dataset.videos("training")[1])
    found = source([None] * 12, None)
    assert [len(each) for each in found] == [i % 3 for i in range(9, 21)]
    assert found[2][0].tolist() == [11] * 4
    source.start(dataset.videos("testing")[0])
    assert [len(each) for each in source([None] * 10, None)] == [1] * 10


def test_box_files_of_other_videos_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "tiny")
    entry = dataset.videos("training")[0]
    np.save(tmp_path / "train.npy", published([1] * 20), allow_pickle=True)
    names = {"training_file": str(tmp_path / "train.npy"), "testing_file": "x"}
    with pytest.raises(UserError, match=r"boxes of 20 frames, the split has 21 frames in 2"):
        build_box_source(file_config(**names), dataset).start(entry)
    with pytest.raises(UserError, match="name both"):
        build_box_source(file_config(training_file="x"), dataset)
    with pytest.raises(UserError, match=r"01.npz: no such boxes; run pre_process/extract_bboxes"):
        build_box_source(file_config(), dataset).start(entry)


def test_damaged_box_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "01.npz"
    save_boxes(path, [np.zeros((1, 4), np.float32)] * 3, {})
    with pytest.raises(UserError, match="boxes of 3 frames, the video has 4"):
        load_boxes(path, 4)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load_boxes(path, 3)
    save_boxes(path, [np.full((1, 4), np.inf, np.float32)], {})
    with pytest.raises(UserError, match="a box is not finite"):
        load_boxes(path, 1)
