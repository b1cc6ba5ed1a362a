"""Split products on matrix tiles (AMX), and memories that read with them, against torch."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from models.cpu.faster import faster_memory
from models.cpu.products import pack, product
from models.cpu.reading import PackedMemory
from models.layers.memory import Memory
from tests.helpers.cpu_layers import needs_tiles, random


@needs_tiles
@pytest.mark.parametrize("rows", [1, 31, 33, 300])
@pytest.mark.parametrize(("depth", "columns"), [(32, 32), (70, 33), (2100, 65)])
def test_products_are_float32_to_a_few_digits(rows: int, depth: int, columns: int) -> None:
    torch.manual_seed(rows)
    left = torch.randn(rows, depth) * 10.0 ** torch.randint(-3, 4, (rows, 1))
    right = torch.randn(depth, columns)
    found = product(left, pack(right[None])[0])[:, :columns]
    expected = left.double() @ right.double()
    size = left.double().norm(dim=1, keepdim=True) * right.double().norm(dim=0)
    off = ((found - expected).abs() / size).max()
    assert off < 1e-5
    rounded = (left.bfloat16().double() @ right.bfloat16().double() - expected).abs() / size
    assert rounded.max() > 30 * off  # one bfloat16 product is far from it


@needs_tiles
def test_tiles_are_left_as_they_were() -> None:
    from numba import njit

    from models.cpu.tiles import configure, save_configuration

    @njit
    def configured(shapes, work):
        configure(shapes.ctypes.data)

    @njit
    def read(found):
        save_configuration(found.ctypes.data)

    shapes, found = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    shapes[[0, 16, 48]] = 1, 32, 4
    configured(shapes, None)
    product(torch.ones(40, 64), pack(torch.ones(1, 64, 32))[0])
    read(found)
    configured(np.zeros(64, np.uint8), None)
    assert np.array_equal(found, shapes)


@needs_tiles
@pytest.mark.parametrize("threshold", [0.0, 0.0035])
def test_a_packed_memory_reads_the_same(threshold: float) -> None:
    torch.manual_seed(0)
    memory = Memory(300, 64 * 16, threshold).requires_grad_(False)
    fast = faster_memory(memory)
    assert isinstance(fast, PackedMemory)
    features = 3 * random(40, 64, 4, 4)
    results: list[tuple[Tensor, Tensor]] = []
    threads = [
        threading.Thread(target=lambda: results.append(fast(features)), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read, attention = memory(features)
    for fast_read, fast_attention in results:
        # Attention near the threshold may fall on its other side: that is at most the threshold.
        assert (fast_attention - attention).abs().max() < max(threshold * 1.1, 1e-5)
        assert (fast_attention - attention).abs().mean() < 2e-6
        assert_close(fast_read, read, rtol=1e-3, atol=2e-4)
        assert fast_read.is_contiguous(memory_format=torch.channels_last)
    few = features[:15]
    assert torch.equal(fast(few)[0], memory(few)[0])


def test_small_memories_stay(tiles) -> None:
    for memory in (Memory(255, 512, 0.0), Memory(512, 255, 0.0)):
        assert faster_memory(memory) is memory


@pytest.mark.parametrize("tiles_used", [pytest.param(True, marks=needs_tiles), False])
def test_slots_that_nobody_uses_are_not_read(tiles_used: bool) -> None:
    torch.manual_seed(0)
    memory = Memory(400, 32 * 64, 0.0025).requires_grad_(False)
    layer = PackedMemory(memory) if tiles_used else memory
    features = random(40, 32, 8, 8)
    for size in (0.01, 60.0):  # all slots are in use, then few
        expected, attention = memory(features * size)  # not in inference mode: all are read
        few = memory.used(attention) is not None
        assert few == (size > 1)
        with torch.inference_mode():
            read = layer(features * size)[0]
        near = {"rtol": 1e-3, "atol": 1e-3} if tiles_used else {"rtol": 1e-5, "atol": 1e-6}
        assert_close(read, expected, **near)
