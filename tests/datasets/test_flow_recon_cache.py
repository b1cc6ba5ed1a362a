"""Reconstructions that are computed once."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch

from datasets.cubes.flow_recon_cache import FlowReconCache
from utils.errors import UserError

COUNT = 20
FLOWS = torch.randn(COUNT, 8, 32, 32, generator=torch.Generator().manual_seed(0))


class Rebuild:
    def __init__(self):
        self.asked = 0

    def __call__(self, flows):
        self.asked += len(flows)
        return flows * 2 + 1


def ask(kept, rows):
    rows = torch.as_tensor(rows)
    return kept(rows, FLOWS[rows])


def test_each_cube_is_rebuilt_once_and_comes_back_in_the_order_asked(tmp_path):
    rebuild = Rebuild()
    kept = FlowReconCache(tmp_path, COUNT, "a" * 64, rebuild)
    assert not list(tmp_path.iterdir())
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(COUNT)
        for rows in np.array_split(order, 3):
            torch.testing.assert_close(ask(kept, rows), FLOWS[rows] * 2 + 1, atol=1e-3, rtol=1e-3)
    assert rebuild.asked == COUNT


def test_what_is_kept_outlives_the_process_but_not_its_key(tmp_path):
    first = ask(FlowReconCache(tmp_path, COUNT, "a" * 64, Rebuild()), range(7))
    rebuild = Rebuild()
    again = FlowReconCache(tmp_path, COUNT, "a" * 64, rebuild)
    assert torch.equal(ask(again, range(9))[:7], first) and rebuild.asked == 2
    other = Rebuild()
    ask(FlowReconCache(tmp_path, COUNT, "b" * 64, other), range(7))
    assert other.asked == 7 and len(list(tmp_path.iterdir())) == 2
    again.remove()


def test_two_processes_share_one_file(tmp_path):
    rebuilds = Rebuild(), Rebuild()
    one, two = (FlowReconCache(tmp_path, COUNT, "a" * 64, rebuild) for rebuild in rebuilds)
    ask(one, [0]), ask(two, [1])
    assert torch.equal(ask(one, range(10)), ask(two, range(10)))
    assert [rebuild.asked for rebuild in rebuilds] == [9, 1]
    one.remove()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="keep_flow_recon=false"):
        ask(FlowReconCache(tmp_path, COUNT, "a" * 64, Rebuild()), [0])
    assert not list(tmp_path.iterdir())
