"""What a GPU keeps of the data, kept by the CPU here: the same batches and reconstructions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets.cubes import flow_recon_cache, resident
from datasets.cubes.dataset import CubeSet, LastFlows
from datasets.cubes.files import write_cubes
from datasets.cubes.flow_recon_cache import FlowReconCache, ResidentFlowRecon, open_flow_recon_cache
from datasets.cubes.loader import CubeLoader
from datasets.cubes.resident import ResidentLoader, training_loader

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory) -> CubeSet:
    """Eleven cubes of two videos."""
    root, random = tmp_path_factory.mktemp("cubes"), np.random.default_rng(0)
    for name, count in (("01", 7), ("02", 4)):
        about = {"num_frames": count, "width": 64, "height": 48, "settings": {}}
        with write_cubes(root / "cubes" / "training" / name, about) as writer:
            appearance = random.integers(0, 256, (count, 5, 32, 32, 3), np.uint8)
            motion = random.standard_normal((count, 4, 32, 32, 2)).astype(np.float16)
            writer.append(0, np.zeros((count, 4), np.float32), appearance, motion)
    return CubeSet.open(root, "training", ["01", "02"])


@pytest.mark.parametrize("share", [{}, {"rank": 1, "world_size": 2}])
def test_resident_cubes_give_the_same_batches(cubes, monkeypatch, share):
    monkeypatch.setattr(resident, "_PART", 3)
    settings = {"shuffle": True, "seed": 5, **share}
    kept = ResidentLoader(cubes, 4, CPU, **settings)
    for epoch in (0, 2):
        batches = list(CubeLoader(cubes, 4, **settings).epoch(epoch, 1))
        found = list(kept.epoch(epoch, 1))
        assert len(found) == len(batches) == 2
        for batch, expected in zip(found, batches, strict=True):
            assert all(torch.equal(*pair) for pair in zip(batch[:3], expected[:3], strict=True))
            assert batch.weight == expected.weight


def test_stage_1_reads_last_flows_alone(cubes):
    numbers = np.array([9, 0, 3])
    appearance, motion = LastFlows(cubes).gather(numbers)
    assert appearance.shape == (3, 0, 32, 32, 3) and len(LastFlows(cubes)) == 11
    np.testing.assert_array_equal(motion, cubes.gather(numbers)[1][:, -1:])


def test_cubes_stay_where_they_fit(cubes, monkeypatch):
    sizes = []
    monkeypatch.setattr(resident, "fits", lambda _, size: sizes.append(size))
    assert type(training_loader(cubes, 4, CPU)) is CubeLoader
    training_loader(LastFlows(cubes), 4, CPU)
    assert sizes == [11 * (5 * 32 * 32 * 3 + 4 * 32 * 32 * 4), 11 * 32 * 32 * 4]
    monkeypatch.setattr(resident, "fits", lambda _, size: True)
    assert type(training_loader(cubes, 4, CPU)) is ResidentLoader


def test_resident_reconstructions_are_those_of_the_disk(tmp_path):
    flows, asked = torch.randn(6, 8, 32, 32), []

    def reconstruct(some: torch.Tensor) -> torch.Tensor:
        asked.append(len(some))
        return some * 1.7

    kept, cached = (
        ResidentFlowRecon(6, CPU, reconstruct),
        FlowReconCache(tmp_path, 6, "k", reconstruct),
    )
    for rows in ([0, 3], [3, 1, 0], [5, 4, 2, 1], [2, 0]):
        numbers = torch.tensor(rows)
        assert torch.equal(kept(numbers, flows[numbers]), cached(numbers, flows[numbers]))
    assert asked == [2, 2, 1, 1, 3, 3]  # each cube once by either


def test_reconstructions_go_to_disk_where_no_gpu_has_room(tmp_path, monkeypatch):
    assert isinstance(open_flow_recon_cache(tmp_path, 6, "k", torch.clone, CPU), FlowReconCache)
    monkeypatch.setattr(flow_recon_cache, "fits", lambda device, size: size == 6 * 16384)
    assert isinstance(open_flow_recon_cache(tmp_path, 6, "k", torch.clone, CPU), ResidentFlowRecon)
