"""Banks of normal features: velocity, nearest distances, left-out blocks, damaged files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.densities.bank import Bank
from evaluation.densities.densities import Densities, block_numbers
from evaluation.densities.velocity import BINS, velocity_features
from utils.errors import UserError


def uniform_flow(x: float, y: float) -> np.ndarray:
    motion = np.zeros((1, 4, 32, 32, 2), np.float16)
    motion[:, -1] = x, y
    return motion


@pytest.mark.parametrize("turn", range(BINS))
def test_a_direction_has_its_bin_and_its_speed(turn):
    angle = np.pi + turn * 2 * np.pi / BINS
    found = velocity_features(uniform_flow(3 * np.cos(angle), 3 * np.sin(angle)))
    expected = np.zeros((1, BINS))
    expected[0, turn] = 3
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_velocity_counts_the_last_flow_and_averages_over_the_cube():
    motion = uniform_flow(0, 0)
    motion[:, 0] = 50  # an earlier flow
    motion[0, -1, :8, :, 0] = 4  # a quarter of the cube moves to the right
    found = velocity_features(motion)
    assert found[0, BINS // 2] == pytest.approx(1.0)
    assert found.sum() == pytest.approx(1.0)
    assert velocity_features(motion[:0]).shape == (0, BINS)


def test_distances_are_to_the_nearest_normal_features():
    features = np.array([[0, 0], [3, 4], [100, 0]], np.float16)
    bank = Bank(features, np.zeros(3, int), "euclidean", 2)
    np.testing.assert_allclose(bank.distances(np.array([[0, 0], [3, 0]])), [2.5, 3.5])
    np.testing.assert_array_equal(bank.nearest(np.array([[99, 0]]), 2), [[2, 1]])
    assert bank.distances(np.zeros((0, 2))).shape == (0,)


def test_cosine_distance_knows_direction_alone():
    bank = Bank(np.array([[1, 0], [0, 2]], np.float16), np.zeros(2, int), "cosine", 1)
    np.testing.assert_allclose(
        bank.distances(np.array([[7, 0], [1, 1], [-3, 0]])), [0, 1 - 0.5**0.5, 1], atol=1e-6
    )


def test_normal_cubes_do_not_find_themselves():
    generator = np.random.default_rng(0)
    features, blocks = generator.normal(size=(60, 4)), np.repeat(np.arange(3), 20)
    bank = Bank(features.astype(np.float16), blocks, "euclidean", 1)
    assert bank.distances(features).max() < 0.01
    found = bank.distances_left_out(features, blocks)
    for row in (0, 25, 59):
        others = features[blocks != blocks[row]].astype(np.float16)
        expected = np.linalg.norm(others - features[row], axis=1).min()
        assert found[row] == pytest.approx(expected, rel=1e-3)


def test_blocks_are_whole_videos_where_there_are_enough():
    lengths = np.array([100] * 10)
    blocks = block_numbers(np.repeat(np.arange(10), 3), np.tile([0, 50, 99], 10), lengths)
    np.testing.assert_array_equal(blocks, np.repeat([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], 3))


def test_one_video_is_cut_into_stretches():
    blocks = block_numbers(np.zeros(1000, int), np.arange(1000), np.array([1000]))
    np.testing.assert_array_equal(np.bincount(blocks), [200] * 5)
    assert (np.diff(blocks) >= 0).all()


@pytest.fixture
def state() -> dict:
    bank = Bank(np.eye(4, dtype=np.float16), np.arange(4) % 2, "cosine", 1)
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    return Densities({"appearance": bank}, pictures, {"name": "x", "weights": "y"}).state()


def test_densities_survive_a_checkpoint(state, tmp_path):
    torch.save(state, tmp_path / "x.pth")
    found = Densities.of(torch.load(tmp_path / "x.pth", weights_only=True), "x.pth")
    features = {"appearance": np.array([[1, 0, 0, 0], [1, 1, 0, 0]], np.float32)}
    distances = found.distances(features)["appearance"]
    np.testing.assert_allclose(distances, [0, 1 - 0.5**0.5], atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features", torch.full((4, 4), torch.nan)),
        ("features", torch.zeros(4)),
        ("features", torch.zeros((4, 4), dtype=torch.bfloat16)),
        ("features", torch.zeros((5, 4))),
        ("features", torch.zeros((4, 4), device="meta")),
        ("features", torch.zeros((4, 4)).to_sparse()),
        ("features", "text"),
        ("blocks", torch.zeros(3)),
        ("blocks", torch.full((4,), torch.nan)),
        ("blocks", None),
        ("metric", "chebyshev"),
        ("metric", "euclidean"),
        ("metric", {}),
        ("neighbours", 0),
        ("neighbours", torch.nan),
        ("neighbours", None),
    ],
)
def test_damaged_banks_are_refused(state, key, value):
    state["banks"]["appearance"][key] = value
    with pytest.raises(UserError, match=r"x\.pth"):
        Densities.of(state, "x.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("banks", {"smell": 1}),
        ("banks", {"appearance": {}}),
        ("banks", [1]),
        ("pictures", 0),
        ("pictures", torch.zeros((4, 32, 32, 3))),
        ("pictures", torch.zeros((3, 32, 32, 3), dtype=torch.uint8)),
        ("pictures", torch.zeros((4, 32, 32), dtype=torch.uint8)),
        ("pictures", torch.zeros((4, 32, 32, 3), dtype=torch.uint8, device="meta")),
        ("backbone", 0),
        ("backbone", {"name": "x"}),
        ("backbone", {"name": "x", "weights": 2}),
    ],
)
def test_damaged_densities_are_refused(state, key, value):
    with pytest.raises(UserError, match=r"x\.pth"):
        Densities.of(state | {key: value}, "x.pth")
    del state[key]
    with pytest.raises(UserError, match=r"damaged.*density_fit\.py"):
        Densities.of(state, "x.pth")


def test_features_of_another_length_are_refused(state):
    with pytest.raises(UserError, match=r"4 values.* 5; .*density_fit\.py"):
        Densities.of(state, "x.pth").distances({"appearance": np.ones((2, 5), np.float32)})
