"""Frame labels of videos known by their features only; frames and snippets aligned."""

from __future__ import annotations

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


def test_ranges_from_the_lengths_of_labels(tmp_path):
    np.save(tmp_path / "all.npy", np.arange(20, dtype=np.float32).reshape(5, 1, 4))
    np.savez(tmp_path / "labels.npz", B2=np.zeros(32), A1=np.zeros(48))
    features = open_by_labels(tmp_path / "all.npy", tmp_path / "labels.npz", 16)
    assert features.names == ["A1", "B2"] and features.lengths.tolist() == [3, 2]
    np.savez(tmp_path / "labels.npz", B2=np.zeros(48), A1=np.zeros(48))
    with pytest.raises(
        UserError, match=r"labels\.npz: the 2 ranges .* do not cover the 5 snippets"
    ):
        open_by_labels(tmp_path / "all.npy", tmp_path / "labels.npz", 16)
    with pytest.raises(UserError, match="needs their lengths"):
        open_by_labels(tmp_path / "all.npy", tmp_path / "labels.txt", 16)


def test_published_label_file_fits_the_published_test_array(vad_data):
    path = vad_data / "data" / "ucf_crime_labels" / "test_frame_labels.npz"
    with np.load(path, allow_pickle=False) as archive:
        lengths = [len(archive[name]) for name in sorted(archive.files)]
    assert sum(lengths) // 16 == 69_355 and all(length % 16 == 0 for length in lengths)
