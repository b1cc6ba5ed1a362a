"""Boxes kept in files: our own, and the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.manifest import VideoEntry
from pre_process.detectors.box_files import box_file, load_boxes, load_published_boxes, save_boxes
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


SIZE = (96, 64)
CORNERS = np.array([[60, 20, 80, 50], [4, 30, 20, 60.5], [90, 1, 97.5, 12]])
SIDES = np.concatenate([CORNERS[:, :2], CORNERS[:, 2:] - CORNERS[:, :2]], axis=1)
SCORES = np.array([[0.9], [0.4], [0.99]])
CLASSES = np.array([[0], [2.0], [0]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (SIDES, r"x2 < x1 or y2 < y1: they look like x, y, width, height; .*\(x2 is x \+ width\)"),
        (CORNERS[:, [2, 1, 0, 3]], r"x2 < x1 or y2 < y1; x1, y1, x2, y2 in pixels"),
        (CORNERS / [*SIZE, *SIZE], "between 0 and 1: they look normalised.*multiply x"),
        (np.hstack([CLASSES, CORNERS / [*SIZE, *SIZE]]), "they look normalised"),
        (np.hstack([SCORES, CORNERS]), r"1 column\(s\) before x1, such as a score or a class"),
        (np.hstack([SCORES, CORNERS])[:, :4], r"1 column\(s\) before x1"),
        (np.hstack([CLASSES, CORNERS]), r"1 column\(s\) before x1"),
        (np.hstack([CLASSES, SCORES, CORNERS]), r"2 column\(s\) before x1"),
        (CORNERS * 2, r"outside the picture of 96x64, up to x2 195 .*another size.*frame 0 \(120"),
        (CORNERS[:, [1, 0, 3, 2]], "they look like y1, x1, y2, x2; exchange"),
        (CORNERS - [8, 0, 8, 0], r"outside the picture.*1 of 3 boxes, the first in frame 1 \(-4"),
    ],
)
def test_boxes_that_are_no_corners_in_pixels_are_refused(tmp_path: Path, rows, message) -> None:
    entries = [VideoEntry("01", "training", tmp_path, "frames", 0, 3, *SIZE)]
    frames = np.empty(3, object)
    frames[:] = [row[None] for row in rows]
    np.save(tmp_path / "train.npy", frames, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        load_published_boxes(tmp_path / "train.npy", entries)
    if rows.shape[1] == 4:
        save_boxes(tmp_path / "01.npz", [row[None] for row in rows], {})
        with pytest.raises(UserError, match=message):
            load_boxes(tmp_path / "01.npz", 3, SIZE)


@pytest.mark.parametrize("behind", [[], [SCORES], [SCORES, CLASSES], [CLASSES], [CLASSES, SCORES]])
def test_corners_are_read_whatever_stands_behind_them(tmp_path: Path, behind) -> None:
    entries = [VideoEntry("01", "training", tmp_path, "frames", 0, 3, *SIZE)]
    frames = np.empty(3, object)
    frames[:] = [row[None] for row in np.hstack([CORNERS, *behind])]
    np.save(tmp_path / "train.npy", frames, allow_pickle=True)
    found = load_published_boxes(tmp_path / "train.npy", entries)["01"]
    np.testing.assert_array_equal(np.concatenate(found), CORNERS.astype(np.float32))


def test_boxes_at_the_edge_are_read(tmp_path: Path) -> None:
    """Zeros are no normalised boxes, a box may be cut to a line and stand over by 2 pixels."""
    boxes = [np.zeros((1, 4), np.float32), np.array([[0, 3, 0, 9], [-2, 3, 98, 66]], np.float32)]
    save_boxes(tmp_path / "01.npz", boxes, {})
    found = load_boxes(tmp_path / "01.npz", 2, SIZE)
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(boxes))


def test_the_box_file_of_the_cases(tmp_path: Path, vad_data: Path) -> None:
    entries = [VideoEntry("01", "training", tmp_path, "frames", 0, 8, 360, 240)]
    with pytest.raises(UserError, match=r"they look like x, y, width, height.*8 of 8 boxes"):
        load_published_boxes(vad_data / "cases" / "b_xywh.npy", entries)


def test_the_published_boxes_are_corners(vad_data: Path) -> None:
    folder = vad_data / "data" / "ped2" / "original_artifacts"
    for name, count in (("train", 2550), ("test", 2010)):
        entries = [VideoEntry("all", name, folder, "frames", 0, count, 360, 240)]
        found = load_published_boxes(folder / f"ped2_bboxes_{name}.npy", entries)["all"]
        assert len(found) == count and sum(map(len, found)) > 29_000
