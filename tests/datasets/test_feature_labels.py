"""Frame labels of videos known by their features only; frames and snippets aligned."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datasets.features.dataset import FeatureSet
from datasets.features.labels import load_feature_labels, open_by_labels
from evaluation.frd import frame_rows
from utils.errors import UserError


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    np.save(folder / "A1_x264.npy", np.ones((3, 1, 4), np.float32))
    np.save(folder / "B2_x264.npy", np.ones((2, 1, 4), np.float32))
    return FeatureSet.open(folder)


def test_archive_text_and_other_formats(features, tmp_path):
    labels = {"A1": np.zeros(48, np.uint8), "B2": np.repeat([0, 1], 16).astype(np.uint8)}
    np.savez(tmp_path / "labels.npz", **labels)
    (tmp_path / "labels.txt").write_text("A1_x264 X -1 -1 -1 -1\nB2_x264 X 16 40 -1 -1\n")
    (tmp_path / "labels.csv").write_text("video,start,stop\nB2,16,32\n")
    for name in ("labels.npz", "labels.txt", "labels.csv"):
        found = load_feature_labels(tmp_path / name, features, 16)
        assert list(found) == ["A1", "B2"]
        for video, values in labels.items():
            np.testing.assert_array_equal(found[video], values, err_msg=name)


def test_frames_left_over_at_the_end(features, tmp_path):
    np.savez(tmp_path / "labels.npz", A1=np.zeros(63), B2=np.ones(20))
    found = load_feature_labels(tmp_path / "labels.npz", features, 16)
    assert [len(found[name]) for name in ("A1", "B2")] == [63, 20]
    rows = frame_rows([3, 2], [63, 20], 16)
    assert rows[:63].tolist() == [0] * 16 + [1] * 16 + [2] * 31
    assert rows[63:].tolist() == [3] * 16 + [4] * 4


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"A1": np.zeros(48)}, "no labels of video B2"),
        ({"A1": np.zeros(64), "B2": np.zeros(32)}, "A1: 64 labels, but its features cover 48"),
        ({"A1": np.zeros(48), "B2": np.full(32, 2)}, "B2: labels must be 0"),
    ],
)
def test_labels_that_do_not_fit(features, tmp_path, labels, words):
    np.savez(tmp_path / "labels.npz", **labels)
    with pytest.raises(UserError, match=words):
        load_feature_labels(tmp_path / "labels.npz", features, 16)


def concatenated(tmp_path, lengths, **labels):
    """One array and its labels in an .npz; the videos' snippets hold their number in the array."""
    values = np.repeat(np.arange(len(lengths)), lengths).astype(np.float32)
    np.save(tmp_path / "all.npy", np.tile(values[:, None, None], (1, 1, 4)))
    np.savez(tmp_path / "labels.npz", **labels)
    return tmp_path / "all.npy", tmp_path / "labels.npz"


def test_ranges_from_the_lengths_of_labels_in_their_own_order(tmp_path):
    files = concatenated(tmp_path, [2, 3], B2=np.zeros(32), A1=np.zeros(48))
    features = open_by_labels(*files, 16)
    assert features.names == ["B2", "A1"] and features.lengths.tolist() == [2, 3]
    assert features.order == "labels.npz"
    (tmp_path / "a.list").write_text("x/A1_x264_i3d.npy\nx/B2_x264_i3d.npy\n")
    listed = open_by_labels(*files, 16, tmp_path / "a.list")
    assert listed.names == ["A1", "B2"] and listed.lengths.tolist() == [3, 2]
    (tmp_path / "a.list").write_text("A1\nC3\n")
    with pytest.raises(UserError, match="no labels of video C3"):
        open_by_labels(*files, 16, tmp_path / "a.list")
    files = concatenated(tmp_path, [2, 3], B2=np.zeros(48), A1=np.zeros(48))
    with pytest.raises(
        UserError, match=r"labels\.npz: the 2 ranges .* do not cover the 5 snippets"
    ):
        open_by_labels(*files, 16)
    with pytest.raises(UserError, match="needs their lengths"):
        open_by_labels(tmp_path / "all.npy", tmp_path / "labels.txt", 16)


def test_an_array_in_an_order_that_nothing_tells_is_refused(tmp_path):
    names = ("Abuse028", "Normal_Videos_003", "RoadAccidents001")
    files = concatenated(tmp_path, [1, 1, 1], **dict.fromkeys(names, np.zeros(16)))
    with pytest.raises(UserError, match=r"nothing states the order .* sorted by name.*--test_list"):
        open_by_labels(*files, 16)
    (tmp_path / "a.list").write_text("\n".join(names))
    assert open_by_labels(*files, 16, tmp_path / "a.list").names == list(names)
    files = concatenated(tmp_path, [1, 1, 1], **dict.fromkeys(names[::-1], np.zeros(16)))
    assert open_by_labels(*files, 16).names == list(names[::-1])


@pytest.mark.parametrize("name", ["row.npy", "row.txt"])
def test_labels_in_a_row_follow_a_list_or_are_refused(tmp_path, features, name):
    row = np.repeat([1, 0], [32, 48])
    np.save(tmp_path / "row.npy", row)
    (tmp_path / "row.txt").write_text(" ".join(map(str, row)))
    with pytest.raises(UserError, match=r"labels of all frames in a row, and nothing states"):
        load_feature_labels(tmp_path / name, features, 16)
    (tmp_path / "a.list").write_text("B2\nA1\n")
    listed = FeatureSet.open(tmp_path / "features", video_list=tmp_path / "a.list")
    found = load_feature_labels(tmp_path / name, listed, 16)
    assert found["B2"].tolist() == [1] * 32 and not found["A1"].any()


def test_labels_that_only_list_videos_are_refused_where_lists_are_otherwise(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("Normal_Videos_003", "Robbery048"):
        np.save(folder / f"{name}_x264.npy", np.ones((1, 1, 4), np.float32))
    for name, tree in (("list.json", [[0] * 16, [1] * 16]), ("d.json", {0: [0] * 16, 1: [1] * 16})):
        (tmp_path / name).write_text(json.dumps(tree))
        with pytest.raises(UserError, match=r"does not name its videos.*--test_list"):
            load_feature_labels(tmp_path / name, FeatureSet.open(folder), 16)
        (tmp_path / "a.list").write_text("Robbery048\nNormal_Videos_003\n")
        listed = FeatureSet.open(folder, video_list=tmp_path / "a.list")
        found = load_feature_labels(tmp_path / name, listed, 16)
        assert found["Normal_Videos_003"].all() and not found["Robbery048"].any()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "video,start,stop\nB2,16,{stop}\n"),
        ("a.txt", "A1_x264 X -1 -1 -1 -1\nB2_x264 X 16 {stop} -1 -1\n"),
        ("a.json", '{{"A1": [[0, 1]], "B2": [[16, {stop}]]}}'),
    ],
)
def test_intervals_that_pass_the_features_by_a_snippet(features, tmp_path, name, content, caplog):
    path = tmp_path / name
    path.write_text(content.format(stop=32 + 15))  # frames left over at the end
    assert load_feature_labels(path, features, 16)["B2"].tolist() == [0] * 16 + [1] * 16
    assert "interval 16..47 is cut" in caplog.text
    path.write_text(content.format(stop=32 + 17))
    with pytest.raises(UserError, match=r"B2: interval 16\.\.49 .*data\.frames_per_snippet"):
        load_feature_labels(path, features, 16)


def test_per_frame_labels_of_every_format_may_hold_the_frames_left_over(features, tmp_path):
    tree = {"A1": [0] * 63, "B2": [1] * 20}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    folder = tmp_path / "gt"
    folder.mkdir()
    for name, values in tree.items():
        np.save(folder / f"{name}_x264_gt.npy", values)
    for path in (tmp_path / "a.json", folder):
        found = load_feature_labels(path, features, 16)
        assert {name: values.tolist() for name, values in found.items()} == tree


def test_segments_cannot_be_aligned_with_frames(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("A1", "B2"):
        np.save(folder / f"{name}.npy", np.ones((32, 1, 4), np.float32))
    features = FeatureSet.open(folder)
    (tmp_path / "a.txt").write_text("A1 Abuse 16 40 -1 -1\nB2 Normal -1 -1 -1 -1\n")
    np.savez(tmp_path / "a.npz", A1=np.zeros(900), B2=np.zeros(512))
    for name in ("a.txt", "a.npz"):
        with pytest.raises(UserError, match=r"32 snippets, .*data\.equal_lengths=true"):
            load_feature_labels(tmp_path / name, features, 16)
    found = load_feature_labels(tmp_path / "a.txt", features, 16, equal_lengths=True)
    assert found["A1"].sum() == 24
    np.savez(tmp_path / "a.npz", A1=np.zeros(520), B2=np.zeros(512))  # confirmed by the labels
    assert len(load_feature_labels(tmp_path / "a.npz", features, 16)["A1"]) == 520


def test_an_abnormal_video_that_xd_violence_does_not_mention(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    names = [f"v={video}__#1_label_{kind}" for video, kind in (("a", "A"), ("b", "B1-0-0"))]
    for name in names:
        for crop in range(5):
            np.save(folder / f"{name}__{crop}.npy", np.ones((2, 4), np.float32))
    features = FeatureSet.open(folder)
    path = tmp_path / "annotations.txt"
    path.write_text(f"{names[1]} 16 32\n")
    found = load_feature_labels(path, features, 16)
    assert not found[names[0]].any() and found[names[1]].sum() == 16
    path.write_text("v=c__#1_label_G-0-0 16 32\n")
    with pytest.raises(UserError, match="label_B1-0-0"):
        load_feature_labels(path, features, 16)


def test_published_label_file_fits_the_published_test_array(vad_data):
    path = vad_data / "data" / "ucf_crime_labels" / "test_frame_labels.npz"
    with np.load(path, allow_pickle=False) as archive:
        lengths = [len(archive[name]) for name in sorted(archive.files)]
    assert sum(lengths) // 16 == 69_355 and all(length % 16 == 0 for length in lengths)
