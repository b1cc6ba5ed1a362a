"""Feature sets and their loader: layouts, order, item borders, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.features.dataset import FeatureSet
from datasets.features.loader import FeatureLoader
from utils.errors import UserError


def numbered(lengths: list[int], crops: int = 2, size: int = 3) -> list[np.ndarray]:
    """Features whose first value is the global snippet index."""
    starts = np.cumsum([0, *lengths])
    arrays = []
    for start, length in zip(starts, lengths, strict=False):
        array = np.zeros((length, crops, size), np.float32)
        array[..., 0] = np.arange(start, start + length)[:, None]
        array[..., 1] = np.arange(crops)
        arrays.append(array)
    return arrays


def folder_set(folder, lengths: list[int]) -> FeatureSet:
    for index, array in enumerate(numbered(lengths)):
        np.save(folder / f"v{index:02d}.npy", array)
    return FeatureSet.open(folder)


def concatenated_set(folder, lengths: list[int]) -> FeatureSet:
    stops = np.cumsum(lengths)
    np.save(folder / "all.npy", np.concatenate(numbered(lengths)))
    np.save(folder / "ranges.npy", np.stack([stops - lengths, stops], axis=1))
    return FeatureSet.open(folder / "all.npy", folder / "ranges.npy")


@pytest.mark.parametrize("make", [folder_set, concatenated_set])
def test_both_layouts_read_the_same_rows(tmp_path, make):
    features = make(tmp_path, [3, 1, 7])
    assert (len(features), features.crops, features.feature_size) == (11, 2, 3)
    assert features.lengths.tolist() == [3, 1, 7]
    np.testing.assert_array_equal(features.read(2, 9)[:, 0, 0], np.arange(2, 9))
    chunks = list(features.chunks(4))
    assert [start for start, _ in chunks] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([c for _, c in chunks])[:, 1, 0], np.arange(11))
    parts = features.split_by_video(np.arange(11))
    assert [part.tolist() for part in parts.values()] == [[0, 1, 2], [3], [4, 5, 6, 7, 8, 9, 10]]


def test_one_crop_without_a_crop_axis(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((5, 8), np.float16))
    features = FeatureSet.open(tmp_path)
    assert features.read(0, 5).shape == (5, 1, 8)
    batch = next(FeatureLoader(features, 5, 2).epoch(0))
    assert batch.features.shape == (5, 1, 2, 8)


def test_chosen_crops(tmp_path):
    folder_set(tmp_path, [5, 4])
    features = FeatureSet.open(tmp_path, crops=[1])
    assert features.crops == 1
    batch = next(FeatureLoader(features, 9, 2).epoch(0))
    assert batch.features.shape == (9, 1, 2, 3) and (batch.features[..., 1] == 1).all()
    np.testing.assert_array_equal(batch.features[:, 0, :, 0], batch.rows)
    assert all((rows[..., 1] == 1).all() for _, rows in features.chunks(4))
    with pytest.raises(UserError, match=r"holds 2 crop.*data\.crops asks for \[2\]"):
        FeatureSet.open(tmp_path, crops=[2])


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    snippets=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 9),
    block=st.integers(1, 6),
    big_pool=st.booleans(),
)
@settings(max_examples=60)
def test_an_epoch_visits_every_item_once_and_never_crosses_videos(
    tmp_path_factory, lengths, snippets, batch, block, big_pool
):
    features = concatenated_set(tmp_path_factory.mktemp("f"), lengths)
    loader = FeatureLoader(
        features, batch, snippets, seed=3, block=block, pool_mb=1 if big_pool else 0
    )
    batches = list(loader.epoch(1))
    assert len(batches) == len(loader) == -(-len(features) // batch)
    rows = np.concatenate([b.rows.numpy() for b in batches])
    assert sorted(rows[:, 0]) == list(range(len(features)))
    video = np.repeat(np.arange(len(lengths)), lengths)
    assert (video[rows] == video[rows[:, :1]]).all()
    last = np.cumsum(lengths)[video[rows[:, 0]]] - 1
    expected = np.minimum(rows[:, :1] + np.arange(snippets), last[:, None])
    np.testing.assert_array_equal(rows, expected)
    for b in batches:
        assert b.features.shape == (len(b.rows), 2, snippets, 3)
        np.testing.assert_array_equal(b.features[:, 0, :, 0], b.rows)
        assert (b.features[:, 1, :, 1] == 1).all()


@pytest.mark.parametrize("pool_mb", [0, 1])
def test_order_is_seeded_differs_by_epoch_and_resumes_inside_one(tmp_path, pool_mb):
    features = folder_set(tmp_path, [30, 41, 9])

    def rows(seed, epoch, first=0):
        loader = FeatureLoader(features, 7, 2, seed=seed, pool_mb=pool_mb, block=4)
        return [batch.rows.tolist() for batch in loader.epoch(epoch, first)]

    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(0, 1) and rows(0, 0) != rows(1, 0)
    assert rows(0, 2, 5) == rows(0, 2)[5:]


def test_a_small_pool_mixes_distant_places_in_a_batch(tmp_path):
    features = folder_set(tmp_path, [400, 400])
    loader = FeatureLoader(features, 32, 1, pool_mb=0, block=4)
    spans = [np.ptp(batch.rows.numpy()) for batch in loader.epoch(0)]
    assert np.median(spans) > 500


def test_processes_share_a_step(tmp_path):
    features = folder_set(tmp_path, [13, 10])
    whole = [b.rows[:, 0].tolist() for b in FeatureLoader(features, 6, 2).epoch(0)]
    ranks = [FeatureLoader(features, 6, 2, rank=r, world_size=2).epoch(0) for r in (0, 1)]
    parts = [[b.rows[:, 0].tolist() for b in loader] for loader in ranks]
    for step, items in enumerate(whole):
        assert sorted(parts[0][step] + parts[1][step]) == sorted(items)


def test_fingerprint_follows_contents_and_ranges(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    first = folder_set(tmp_path / "a", [4, 5]).fingerprint
    assert folder_set(tmp_path / "b", [4, 5]).fingerprint == first
    assert folder_set(tmp_path / "c", [5, 4]).fingerprint != first
    np.save(tmp_path / "b" / "v01.npy", np.ones((5, 2, 3), np.float32))
    assert FeatureSet.open(tmp_path / "b").fingerprint != first


def save(folder, name, array):
    np.save(folder / name, array)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "holds no VIDEO.npy"),
        ({"a": np.ones((2, 3, 4)), "b": np.ones((2, 1, 4))}, "b.npy: 1 crops"),
        ({"a": np.ones((2, 3, 4)), "b": np.ones((2, 3, 8))}, "3 crops of 8"),
        ({"a": np.ones((2, 3, 4), int)}, "int64"),
        ({"a": np.ones(4)}, r"\(4,\).*\(snippets, crops, D\)"),
        ({"a": np.ones((0, 3, 4))}, r"\(0, 3, 4\)"),
        ({"a_x264": np.ones((2, 3, 4)), "a_x264_i3d": np.ones((2, 3, 4))}, "two files.*video a"),
    ],
)
def test_bad_folders(tmp_path, arrays, words):
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(UserError, match=words):
        FeatureSet.open(tmp_path)


@pytest.mark.parametrize(
    "ranges", [[[0, 4], [4, 9]], [[0, 4], [5, 10]], [[1, 10]], [[0, 10], [10, 10]]]
)
def test_ranges_must_cover_the_array(tmp_path, ranges):
    np.save(tmp_path / "all.npy", np.ones((10, 2, 3), np.float32))
    np.save(tmp_path / "ranges.npy", np.array(ranges))
    with pytest.raises(UserError, match="do not cover the 10 snippets"):
        FeatureSet.open(tmp_path / "all.npy", tmp_path / "ranges.npy")


def test_missing_ranges_truncated_and_foreign_files(tmp_path):
    np.save(tmp_path / "all.npy", np.ones((10, 2, 3), np.float32))
    with pytest.raises(UserError, match="needs the videos' ranges"):
        FeatureSet.open(tmp_path / "all.npy")
    with pytest.raises(UserError, match="no such file of snippet ranges"):
        FeatureSet.open(tmp_path / "all.npy", tmp_path / "none.npy")
    raw = (tmp_path / "all.npy").read_bytes()
    (tmp_path / "all.npy").write_bytes(raw[:-20])
    with pytest.raises(UserError, match="not a readable"):
        FeatureSet.open(tmp_path / "all.npy", tmp_path / "none.npy")
    with pytest.raises(UserError, match="no such feature file"):
        FeatureSet.open(tmp_path / "other.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_name_video_and_snippet(tmp_path, value):
    arrays = numbered([5, 6])
    arrays[1][4, 0, 2] = value
    for index, array in enumerate(arrays):
        np.save(tmp_path / f"v{index}.npy", array)
    features = FeatureSet.open(tmp_path)
    with pytest.raises(UserError, match=r"video v1, snippet 4 .*NaN"):
        list(FeatureLoader(features, 4, 2).epoch(0))
    with pytest.raises(UserError, match=r"video v1, snippet 4 .*NaN"):
        list(features.chunks())
