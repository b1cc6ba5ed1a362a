"""Every circulating label format gives the same frame labels."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.labels.formats import read_raw
from datasets.labels.frame_labels import (
    load_labels,
    read_labels,
    read_mask_regions,
    save_labels,
)
from datasets.labels.matching import match_names
from datasets.labels.regions import Region, mask_regions, read_regions, write_regions
from utils.errors import UserError

# Two videos as UCSD names them; the first has two anomalous stretches.
NAMES = ("Test001", "Test002")
LENGTHS = {"Test001": 12, "Test002": 8}
SPANS = {"Test001": [[2, 5], [7, 9]], "Test002": [[0, 8]]}


def expected() -> dict[str, np.ndarray]:
    labels = {name: np.zeros(LENGTHS[name], np.uint8) for name in NAMES}
    for name in NAMES:
        for start, stop in SPANS[name]:
            labels[name][start:stop] = 1
    return labels


def masks(name: str) -> list[np.ndarray]:
    stack = []
    for label in expected()[name]:
        mask = np.zeros((10, 16), np.uint8)
        mask[3:7, 4:9] = 255 * label
        stack.append(mask)
    return stack


def mat_cells() -> np.ndarray:
    cells = np.empty((1, 2), object)
    for index, name in enumerate(NAMES):
        cells[0, index] = np.add(np.transpose(SPANS[name]), [[1], [0]])
    return cells


def write_format(folder, kind: str):
    """Write the labels in one format; returns the path to read."""
    labels = expected()
    path = folder / kind
    per_frame = [labels[name].tolist() for name in NAMES]
    if kind == "gt_label.json":
        tree = {index: labels[name].astype(float) for index, name in enumerate(NAMES)}
        path.write_bytes(pickle.dumps(tree, 3))
    elif kind == "named.pkl":
        path.write_bytes(pickle.dumps({f"{name}.npy": labels[name] for name in NAMES}))
    elif kind == "real.json":
        path.write_text(json.dumps(dict(zip(NAMES, per_frame, strict=True))))
    elif kind == "listed.json":
        path.write_text(json.dumps(per_frame))
    elif kind == "spans.json":
        path.write_text(json.dumps(SPANS))
    elif kind == "gt.mat":
        scipy.io.savemat(path, {"gt": mat_cells()})
    elif kind == "frames.mat":
        scipy.io.savemat(path, {f"v{index + 1}": row for index, row in enumerate(per_frame)})
    elif kind == "labels.npz":
        np.savez(path, **labels)
    elif kind == "object.npy":
        rows = np.empty(2, object)
        rows[:] = [labels[name] for name in NAMES]
        np.save(path, rows, allow_pickle=True)
    elif kind == "row.npy":
        np.save(path, np.concatenate(list(labels.values())))
    elif kind == "row.txt":
        path.write_text("\n".join(str(v) for row in per_frame for v in row))
    elif kind == "spans.csv":
        rows = [f"{name},{a},{b}" for name in NAMES for a, b in SPANS[name]]
        path.write_text("video,start,stop\n" + "\n".join(rows))
    elif kind == "frames.csv":
        rows = [f"{n},{i},{v}" for n in NAMES for i, v in enumerate(labels[n])]
        path.write_text("video,frame,label\n" + "\n".join(rows))
    elif kind == "UCSDped2.m":
        path.write_text(
            "% TestVideoFile{end+1}.gt_frame = [9:9];\nTestVideoFile = {};\n"
            "TestVideoFile{end+1}.gt_frame = [3:5, 8:9];\nTestVideoFile{end+1}.gt_frame = [1:8];\n"
        )
    else:
        write_folder(path, kind, labels)
    return path


def write_folder(path, kind, labels) -> None:
    path.mkdir()
    for index, name in enumerate(NAMES, 1):
        if kind == "testing_label_mask":
            volume = np.empty((1, LENGTHS[name]), object)
            volume[0, :] = masks(name)
            scipy.io.savemat(path / f"{index}_label.mat", {"volLabel": volume})
        elif kind == "test_frame_mask":
            np.save(path / f"{name}.npy", labels[name])
        elif kind == "test_pixel_mask":
            np.save(path / f"{name}.npy", np.array(masks(name)) > 0)
        elif kind == "ucsd_masks":
            (path / f"{name}_gt").mkdir()
            for frame, mask in enumerate(masks(name), 1):
                cv2.imwrite(str(path / f"{name}_gt" / f"{frame:03d}.bmp"), mask)
        elif kind == "texts":
            (path / f"{name}.txt").write_text(" ".join(map(str, labels[name])))


# fmt: off
FILES = [
    "gt_label.json", "named.pkl", "real.json", "listed.json", "spans.json", "gt.mat", "frames.mat",
    "labels.npz", "object.npy", "row.npy", "row.txt", "spans.csv", "frames.csv", "UCSDped2.m",
]
# fmt: on
MASK_FOLDERS = ["testing_label_mask", "test_pixel_mask", "ucsd_masks"]
FOLDERS = [*MASK_FOLDERS, "test_frame_mask", "texts"]


@pytest.mark.parametrize("kind", FILES + FOLDERS)
def test_every_format_gives_the_same_labels(tmp_path, kind):
    labels = read_labels(write_format(tmp_path, kind), LENGTHS)
    assert list(labels) == list(NAMES)
    for name in NAMES:
        assert labels[name].dtype == np.uint8
        np.testing.assert_array_equal(labels[name], expected()[name])


@pytest.mark.parametrize("kind", FILES + FOLDERS)
def test_every_format_is_checked_against_the_videos(tmp_path, kind):
    path = write_format(tmp_path, kind)
    shorter = {"Test001": 12, "Test002": 7}
    with pytest.raises(
        UserError, match=r"(Test002: .*7 frames|in a row.*19 frames|interval 7\.\.8)"
    ):
        read_labels(path, shorter)
    if not kind.startswith("row"):
        with pytest.raises(UserError, match=r"(labels of 2 videos.*has 3|video names)"):
            read_labels(path, {**LENGTHS, "Test003": 5} if "csv" not in kind else {"other": 12})


@pytest.mark.parametrize("kind", MASK_FOLDERS)
def test_masks_give_tracked_regions(tmp_path, kind):
    regions = read_mask_regions(write_format(tmp_path, kind), LENGTHS)
    first = [region for region in regions if region.video == "Test001"]
    assert [(r.frame, r.track) for r in first] == [(2, 0), (3, 0), (4, 0), (7, 1), (8, 1)]
    assert {(r.x1, r.y1, r.x2, r.y2) for r in regions} == {(4, 3, 9, 7)}
    assert read_mask_regions(tmp_path / kind, {**LENGTHS, "Test003": 9}) is None
    with pytest.raises(UserError, match=r"Test002: 8 masks.*9 frames"):
        read_mask_regions(tmp_path / kind, {**LENGTHS, "Test002": 9})


@pytest.mark.parametrize("kind", ["gt_label.json", "gt.mat", "labels.npz", "object.npy"])
def test_truncated_files_are_user_errors(tmp_path, kind):
    path = write_format(tmp_path, kind)
    data = path.read_bytes()
    for length in (0, 3, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=path.name):
            read_labels(path, LENGTHS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gt.json", '{"Test001": "x", "Test002": [0]}', "must be numbers"),
        ("gt.json", json.dumps([[2] * 12, [0] * 8]), "0 .normal. or 1"),
        ("gt.json", json.dumps([[0] * 12, [[5, 9]]]), "interval 5..9"),
        ("gt.csv", "a;b\nx,1,2", "first line must be"),
        ("gt.csv", "video,start,stop\nTest001,x,2", "line 2"),
        ("gt.m", "nothing here", "gt_frame"),
        ("gt.xml", "<a/>", "unknown label format"),
        ("gt.txt", "0 1 zero", "one number"),
    ],
)
def test_bad_labels(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / name, LENGTHS)


def test_missing_and_empty(tmp_path):
    with pytest.raises(UserError, match="no such label"):
        read_labels(tmp_path / "gt.mat", LENGTHS)
    with pytest.raises(UserError, match="no labels in this folder"):
        read_labels(tmp_path, LENGTHS)
    with pytest.raises(UserError, match="prepare_dataset"):
        load_labels(tmp_path)


def test_saved_labels_come_back(tmp_path):
    save_labels(tmp_path, expected())
    loaded = load_labels(tmp_path)
    for name in NAMES:
        np.testing.assert_array_equal(loaded[name], expected()[name])


def test_names_match_by_spelling_number_or_order():
    videos = [f"{index:02d}" for index in range(1, 13)]
    assert match_names([f"{i}_label" for i in range(1, 13)], videos)["10_label"] == "10"
    assert match_names(range(12), videos)[9] == "10"
    assert match_names(range(1, 13), videos)[10] == "10"
    assert match_names(["01_0014.npy"], ["01_0014"]) == {"01_0014.npy": "01_0014"}
    assert match_names(["a", "b"], ["b", "c"]) is None


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=4))
def test_regions_survive_a_file(tmp_path_factory, corners):
    path = tmp_path_factory.mktemp("regions") / "regions.csv"
    regions = [Region("a,b", i, i, x, y, x + 1.5, y + 2) for i, (x, y) in enumerate(corners)]
    write_regions(path, regions)
    assert read_regions(path) == regions


def test_two_areas_keep_their_tracks():
    frames = np.zeros((3, 20, 30), bool)
    for index in range(3):
        frames[index, 2:8, 2 + index : 8 + index] = True
        frames[index, 12:18, 20 - index : 29 - index] = True
    regions = mask_regions("v", frames)
    assert {(r.track, r.y1) for r in regions} == {(0, 12), (1, 2)}


OFFICIAL = [("ped2/original_artifacts", 12, 2010, 1648), ("avenue_labels", 21, 15324, 3712)]
OFFICIAL += [("shanghaitech_labels", 107, 40791, 17326)]


@pytest.mark.parametrize(("folder", "num_videos", "num_frames", "num_abnormal"), OFFICIAL)
def test_official_labels(vad_data, folder, num_videos, num_frames, num_abnormal):
    path = vad_data / "data" / folder / "gt_label.json"
    raw = read_raw(path)
    videos = [
        f"{i + 1:02d}" if isinstance(key, int) else key[:-4] for i, key in enumerate(raw.keys)
    ]
    lengths = {video: len(values) for video, values in zip(videos, raw.values, strict=True)}
    labels = read_labels(path, lengths)
    assert len(labels) == num_videos
    assert sum(map(len, labels.values())) == num_frames
    assert sum(int(values.sum()) for values in labels.values()) == num_abnormal
    for other in path.parent.glob("*.mat"):
        same = read_labels(other, lengths)
        assert all(np.array_equal(labels[video], same[video]) for video in lengths)
