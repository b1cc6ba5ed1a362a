"""Layouts of snippet features: a file a crop, axes in another order, lists, one array."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.features.dataset import FeatureSet
from datasets.features.loader import FeatureLoader
from datasets.features.snippet_scores import load_snippet_values
from utils.errors import UserError


def save_crops(folder, name, snippets, crops=3, size=4, ending=""):
    """Features whose values tell snippet, crop and place."""
    shape = (snippets, crops, size)
    values = np.arange(snippets * crops * size, dtype=np.float32).reshape(shape)
    for crop in range(crops):
        np.save(folder / f"{name}__{crop}{ending}.npy", values[:, crop])
    return values


def test_one_file_a_crop_is_one_video_in_training_and_in_order(tmp_path):
    expected = [save_crops(tmp_path, "B_x264", 5), save_crops(tmp_path, "A_x264", 7)]
    features = FeatureSet.open(tmp_path)
    assert features.names == ["A", "B"] and features.lengths.tolist() == [7, 5]
    whole = np.concatenate(expected[::-1])
    np.testing.assert_array_equal(features.read(0, 12), whole)
    for batch in FeatureLoader(features, 5, 2, pool_mb=0, block=2).epoch(0):
        np.testing.assert_array_equal(batch.features.transpose(1, 2), whole[batch.rows])
    only = FeatureSet.open(tmp_path, crops=[2])
    np.testing.assert_array_equal(only.rows(3, 9), whole[3:9, 2:])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a__0": (5, 4), "a__1": (6, 4)}, "crops of a have 5 to 6 snippets"),
        ({"a__0": (5, 4), "a__1": (5, 4), "b__0": (5, 4)}, "video b lacks crop 1 of 2"),
        ({"a__0": (5, 4), "b": (5, 4)}, "b has no crop number"),
        ({"a__0": (5, 2, 4), "a__1": (5, 2, 4)}, "named as one crop of a, but holds 2"),
    ],
)
def test_crops_that_are_not_whole(tmp_path, files, words):
    for name, shape in files.items():
        np.save(tmp_path / f"{name}.npy", np.ones(shape, np.float32))
    with pytest.raises(UserError, match=words):
        FeatureSet.open(tmp_path)


def test_cameras_that_are_only_numbered_stay_videos(tmp_path):
    for name in ("cam__1", "cam__2"):
        np.save(tmp_path / f"{name}.npy", np.ones((3, 4), np.float32))
    assert FeatureSet.open(tmp_path).names == ["cam__1", "cam__2"]


@pytest.mark.parametrize(
    "shapes", [[(10, 57, 8), (10, 43, 8)], [(5, 7, 8), (5, 3, 8)], [(10, 32, 8)], [(1, 12, 8)]]
)
def test_crops_before_snippets_are_refused_until_declared(tmp_path, shapes):
    arrays = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]
    for index, array in enumerate(arrays):
        np.save(tmp_path / f"v{index}.npy", array)
    with pytest.raises(UserError, match=r"\(crops, snippets, D\): set data\.axes=crops_first"):
        FeatureSet.open(tmp_path)
    features = FeatureSet.open(tmp_path, axes="crops_first")
    assert features.crops == shapes[0][0]
    expected = np.concatenate([array.transpose(1, 0, 2) for array in arrays])
    np.testing.assert_array_equal(features.read(0, len(features)), expected)


def test_axes_that_are_right_as_they_are(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((10, 12, 8), np.float32))
    assert FeatureSet.open(tmp_path, axes="snippets_first").crops == 12
    np.save(tmp_path / "v.npy", np.ones((40, 32, 8), np.float32))
    with pytest.raises(UserError, match=r"\(videos, segments, D\) cannot be aligned with frames"):
        FeatureSet.open(tmp_path)


def test_a_list_orders_and_chooses_the_files_of_a_folder(tmp_path, caplog):
    for name, length in (("A", 2), ("B", 3), ("C", 4)):
        np.save(tmp_path / f"{name}_x264_i3d.npy", np.full((length, 1, 4), length, np.float32))
    (tmp_path / "a.list").write_text("D:\\f\\C_x264_i3d.npy\nA\n")
    features = FeatureSet.open(tmp_path, video_list=tmp_path / "a.list")
    assert features.names == ["C", "A"] and features.order == "a.list"
    assert features.read(0, 6)[:, 0, 0].tolist() == [4, 4, 4, 4, 2, 2]
    assert "1 videos are not in" in caplog.text
    (tmp_path / "a.list").write_text("A\nD\n")
    with pytest.raises(UserError, match="no features of D"):
        FeatureSet.open(tmp_path, video_list=tmp_path / "a.list")


def test_a_list_names_the_ranges_of_one_array(tmp_path):
    np.save(tmp_path / "all.npy", np.ones((5, 1, 4), np.float32))
    ranges, listed = tmp_path / "r.npy", tmp_path / "a.list"
    np.save(ranges, np.array([[0, 3], [3, 5]]))
    listed.write_text("B\nA\n")
    features = FeatureSet.open(tmp_path / "all.npy", ranges, video_list=listed)
    assert features.names == ["B", "A"] and features.lengths.tolist() == [3, 2]
    listed.write_text("B\n")
    with pytest.raises(UserError, match="its 1 videos are not the 2"):
        FeatureSet.open(tmp_path / "all.npy", ranges, video_list=listed)
    listed.write_text("B\nA\n")
    np.savez(tmp_path / "r.npz", names=["A", "B"], ranges=np.array([[0, 3], [3, 5]]))
    with pytest.raises(UserError, match="in their order"):
        FeatureSet.open(tmp_path / "all.npy", tmp_path / "r.npz", video_list=listed)


def test_snippet_values_in_a_row_need_an_order(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name, length in (("Normal_Videos_003", 2), ("Robbery048", 3)):
        np.save(folder / f"{name}.npy", np.ones((length, 1, 4), np.float32))
    np.save(tmp_path / "v.npy", np.array([1, 1, 1, 0, 0]))
    with pytest.raises(UserError, match=r"nothing states the order .*data\.training_list"):
        load_snippet_values(tmp_path / "v.npy", FeatureSet.open(folder))
    (tmp_path / "a.list").write_text("Robbery048\nNormal_Videos_003\n")
    features = FeatureSet.open(folder, video_list=tmp_path / "a.list")
    values = load_snippet_values(tmp_path / "v.npy", features)
    assert features.split_by_video(values)["Robbery048"].tolist() == [1, 1, 1]


def test_files_that_are_no_arrays_are_named_without_unsafe_advice(tmp_path):
    np.ones((3, 1, 4), np.float32).tofile(tmp_path / "raw.npy")
    np.save(tmp_path / "objects.npy", np.array([None, 1], object), allow_pickle=True)
    for name, words in (("raw", "a raw memory map"), ("objects", "an array of objects")):
        with pytest.raises(UserError, match=words) as refused:
            FeatureSet.open(tmp_path / f"{name}.npy")
        assert "pickle" not in str(refused.value)
