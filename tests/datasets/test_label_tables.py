"""Labels that are easily read wrong: interval layouts, tables, other values, marks, volumes."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
import scipy.io

from datasets.labels.formats import read_raw
from datasets.labels.frame_labels import (
    load_labels,
    read_labels,
    read_mask_regions,
    save_labels,
)
from datasets.labels.ground_truth import load_ground_truth
from datasets.labels.origin import describe_labels
from datasets.labels.regions import HEADER, Region, read_regions, write_regions
from utils.errors import UserError

LENGTHS = {"01": 9, "02": 6}
EXPECTED = {"01": [0, 1, 1, 0, 0, 1, 1, 1, 0], "02": [1, 1, 0, 0, 0, 0]}


def lists(labels):
    return {name: values.tolist() for name, values in labels.items()}


def save_gt(path, *cells):
    column = np.empty((1, len(cells)), object)
    column[0, :] = [np.array(cell) for cell in cells]
    scipy.io.savemat(path, {"gt": column})
    return path


@pytest.mark.parametrize(
    "cells",
    [
        ([[2, 6], [3, 8]], [[1], [2]]),  # columns, as published: the second cell decides
        ([[2, 3], [6, 8]], [[1, 2]]),  # rows
        ([[2, 6], [3, 8]], []),  # 2 x 2 alone: in time order as columns ...
        ([[2, 3], [6, 8]], []),  # ... or as rows
    ],
)
def test_intervals_of_matlab_as_columns_or_rows(tmp_path, cells):
    labels = lists(read_labels(save_gt(tmp_path / "gt.mat", *cells), LENGTHS))
    assert labels["01"] == EXPECTED["01"]
    assert labels["02"] == (EXPECTED["02"] if len(cells[1]) else [0] * 6)


def test_the_shared_file_of_rows(vad_data):
    raw = read_raw(vad_data / "cases" / "gt_nx2.mat")
    spans = [value.spans.tolist() for value in raw.values]
    assert spans == [[[10, 20], [30, 35], [50, 58]], [[4, 9]], [[29, 40]]]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (([[1, 2], [2, 5]],), "can be read as columns and as rows"),
        (([[1, 3, 5], [2, 4, 6]], [[1, 2]]), "some videos have 2 x n intervals and some n x 2"),
        (([[1, 2, 3, 4]],), "columns, or rows"),
        (([[1.5], [2.5]],), "whole numbers of frames"),
        (([[5], [2]],), r"interval 4\.\.2"),
    ],
)
def test_intervals_of_matlab_that_are_refused(tmp_path, cells, words):
    path = save_gt(tmp_path / "gt.mat", *cells)
    with pytest.raises(UserError, match=words):
        read_labels(path, {f"{number:02d}": 9 for number in range(len(cells))})


@pytest.mark.parametrize(
    ("spans", "words"),
    [([[1, 5], [3, 8]], "looks like starts and stops"), ([[1, 2.5]], "whole numbers"),
     ([[4, 4]], r"interval 4\.\.4 \(0-based, stop exclusive\)")],
)  # fmt: skip
def test_intervals_of_json_that_are_refused(tmp_path, spans, words):
    (tmp_path / "gt.json").write_text(json.dumps({"01": spans, "02": [0] * 6}))
    with pytest.raises(UserError, match=words):
        read_labels(tmp_path / "gt.json", LENGTHS)


def frames_table(first, labels=EXPECTED, abnormal_only=False):
    rows = [
        f"{name},{frame},{value}"
        for name, values in labels.items()
        for frame, value in enumerate(values, first)
        if value or not abnormal_only
    ]
    return "\n".join(["video,frame,label", *rows])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "text",
    [
        frames_table(0),
        frames_table(1),
        frames_table(0, abnormal_only=True),
        "video,start,stop\n01,1,3\n01,5,8\n02,0,2\n",
        "Video, First ,Last\n01,2,3\n01,6,8\n02,1,2\n",
    ],
)
def test_tables_of_frames_and_intervals(tmp_path, text, mark):
    (tmp_path / "gt.csv").write_text(mark + text, encoding="utf-8")
    assert lists(read_labels(tmp_path / "gt.csv", LENGTHS)) == EXPECTED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (frames_table(0) + "\n01,3,2", "line 17: video 01: labels must be 0"),
        (frames_table(0) + "\n01,4,-1", "line 17: video 01: labels must be 0"),
        (frames_table(0).replace("01,4,0\n", ""), "video 01: frame 4 is missing"),
        (frames_table(2), "video 01: frame 1 is missing"),
        (frames_table(0) + "\n01,4,1", "frame 4 has two labels"),
        (frames_table(1, {"01": [0] * 8, "02": [0] * 6}), "01: 8 labels, but .* 9 frames"),
        ("video,start,stop\n01,4,4\n", r"line 2: the interval 4 to 4 is empty.*first,last"),
        ("video,first,last\n01,0,4\n", r"interval -1\.\.4"),
        ("frame,label\n1,0\n", "first line must be"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, words):
    (tmp_path / "gt.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_labels(tmp_path / "gt.csv", LENGTHS)


def write_values(folder, kind, values):
    """Two videos' labels in one of the formats with a value a frame."""
    path = folder / kind
    tree = {name: list(each) for name, each in values.items()}
    if kind.endswith(".json"):
        path.write_text(json.dumps(tree))
    elif kind.endswith(".pkl"):
        path.write_bytes(pickle.dumps({name: np.array(each) for name, each in tree.items()}))
    elif kind.endswith(".npz"):
        np.savez(path, **tree)
    elif kind.endswith(".mat"):
        scipy.io.savemat(path, {f"v{name}": each for name, each in tree.items()})
    elif kind.endswith(".csv"):
        path.write_text(frames_table(0, tree))
    elif kind == "row.npy":
        np.save(path, np.concatenate(list(tree.values())))
    elif kind == "row.txt":
        path.write_text(" ".join(str(value) for each in tree.values() for value in each))
    else:
        path.mkdir()
        for name, each in tree.items():
            if kind == "arrays":
                np.save(path / f"{name}.npy", each)
            else:
                (path / f"{name}.txt").write_text("\ufeff" + " ".join(map(str, each)))
    return path


KINDS = ["a.json", "a.pkl", "a.npz", "a.mat", "a.csv", "row.npy", "row.txt", "arrays", "texts"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [2, -1, 255])
def test_other_values_are_refused_in_every_format(tmp_path, kind, value):
    path = write_values(tmp_path, kind, EXPECTED)
    assert lists(read_labels(path, LENGTHS)) == EXPECTED
    other = {name: [value if each else 0 for each in labels] for name, labels in EXPECTED.items()}
    (tmp_path / "other").mkdir()
    path = write_values(tmp_path / "other", kind, other)
    with pytest.raises(UserError, match="labels must be 0"):
        read_labels(path, LENGTHS)


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_a_mark_at_the_start_of_a_text(tmp_path, mark):
    row = " ".join(str(value) for values in EXPECTED.values() for value in values)
    (tmp_path / "gt.txt").write_text(mark + row, encoding="utf-8")
    assert lists(read_labels(tmp_path / "gt.txt", LENGTHS)) == EXPECTED
    (tmp_path / "utf16.txt").write_text(row, encoding="utf-16")
    assert lists(read_labels(tmp_path / "utf16.txt", LENGTHS)) == EXPECTED
    (tmp_path / "gt.json").write_text(mark + json.dumps(EXPECTED), encoding="utf-8")
    assert lists(read_labels(tmp_path / "gt.json", LENGTHS)) == EXPECTED
    (tmp_path / "regions.csv").write_text(mark + ",".join(HEADER) + "\n01,0,0,1,1,2,2\n")
    assert read_regions(tmp_path / "regions.csv")[0].video == "01"


@pytest.mark.parametrize("is_cell", [False, True])
def test_volumes_of_masks_in_three_dimensions(tmp_path, is_cell):
    for number, values in enumerate(EXPECTED.values(), 1):
        volume = np.zeros((4, 5, len(values)), np.uint8)
        volume[1:3, 2:4] = values
        cell = np.empty((1, len(values)), object)
        cell[0, :] = list(np.moveaxis(volume, -1, 0))
        content = {"volLabel": cell if is_cell else volume}
        scipy.io.savemat(tmp_path / f"{number}_label.mat", content)
    assert lists(read_labels(tmp_path, LENGTHS)) == EXPECTED
    boxes = {(r.frame, r.x1, r.y1, r.x2, r.y2) for r in read_mask_regions(tmp_path, LENGTHS)}
    assert (1, 2, 1, 4, 3) in boxes
    alone = read_labels(tmp_path / "1_label.mat", {"01": 9})
    assert lists(alone)["01"] == EXPECTED["01"]


def test_files_of_xd_violence_a_video(tmp_path):
    names = ["A.Mind.2001__#00-25-20_00-29-20_label_A", "A.Mind.2001__#00-25-20_00-30-20_label_B1"]
    for name in names:
        np.save(tmp_path / f"{name}_gt.npy", np.full(4, name.endswith("B1"), float))
    labels = lists(read_labels(tmp_path, dict.fromkeys(names, 4)))
    assert labels == {names[0]: [0] * 4, names[1]: [1] * 4}


def test_rows_in_an_order_that_nothing_tells(tmp_path):
    np.save(tmp_path / "gt.npy", np.zeros(8))
    names = {"Normal_Videos_003": 4, "Robbery048": 4}
    with pytest.raises(UserError, match="does not name its videos"):
        read_labels(tmp_path / "gt.npy", names)
    assert list(read_labels(tmp_path / "gt.npy", {"01": 4, "02": 4})) == ["01", "02"]


def test_which_file_labels_come_from(tmp_path):
    (tmp_path / "a.txt").write_text("0 1")
    assert describe_labels(tmp_path / "a.txt") == "a.txt (SHA-256 5cc3a6551605)"
    save_labels(tmp_path, {"01": np.array([0, 1])}, tmp_path / "a.txt")
    assert load_labels(tmp_path)["01"].tolist() == [0, 1]
    told = describe_labels(tmp_path / "labels.npz")
    assert told.startswith("labels.npz (SHA-256 ")
    assert told.endswith(f", made from {describe_labels(tmp_path / 'a.txt')}")
    first = describe_labels(tmp_path)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((2, 2), np.uint8))
    assert first.startswith(f"{tmp_path.name} (digest ") and describe_labels(tmp_path) != first


def test_regions_whose_frames_count_from_1(tmp_path):
    save_labels(tmp_path, {name: np.array(values) for name, values in EXPECTED.items()})
    for first, is_right in ((0, True), (1, False)):
        frames = [frame for frame, value in enumerate(EXPECTED["01"], first) if value]
        write_regions(tmp_path / "regions.csv", [Region("01", f, 0, 1, 1, 2, 2) for f in frames])
        if is_right:
            assert len(load_ground_truth(tmp_path)[1]) == 5
        else:
            with pytest.raises(UserError, match=r"regions\.csv: .*count them from 0"):
                load_ground_truth(tmp_path)
