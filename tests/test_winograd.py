"""Convolutions by Winograd's method, and batches in parts, against the plain ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models.parts
import models.winograd
from models.fuse import fuse_for_inference
from models.hf2vad import HF2VAD, build_hf2vad
from models.parts import in_parts
from models.rebuild import errors_of
from models.scorers import cube_errors
from models.winograd import WinogradConv2d, convolve_and, uses_winograd, with_winograd

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(models.parts, "FEWEST", 1)


def layer(in_channels: int, out_channels: int) -> nn.Conv2d:
    torch.manual_seed(in_channels)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1).requires_grad_(False)


def exact(conv: nn.Conv2d, x: Tensor, elu: bool, added: Tensor | None, relu: bool) -> Tensor:
    y = F.conv2d((F.elu(x) if elu else x).double(), conv.weight.double(), conv.bias.double(), 1, 1)
    y = y if added is None else y + added
    return (y.relu() if relu else y).float()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("channels", "batch", "height", "width"),
    [((32, 48), 5, 32, 32), ((64, 32), 9, 8, 4), ((40, 33), 1, 4, 12)],
)
def test_it_is_the_convolution(channels, batch, height, width, layout) -> None:
    conv = layer(*channels)
    found = with_winograd(conv)
    assert isinstance(found, WinogradConv2d)
    x = 3 * torch.randn(batch, channels[0], height, width).contiguous(memory_format=layout)
    added = torch.randn(batch, channels[1], height, width).contiguous(memory_format=layout)
    before = x.clone()
    for elu, plus, relu in [(False, None, False), (True, added, False), (False, added, True)]:
        result = convolve_and(found, x, elu, plus, relu)
        torch.testing.assert_close(result, exact(conv, x, elu, plus, relu), rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)


def test_borders_and_tiles_one_by_one() -> None:
    conv = layer(32, 32)
    fast = with_winograd(conv)
    for place in range(64):  # one pixel at a time: a fault of one place cannot hide
        x = torch.zeros(1, 32, 8, 8)
        x[0, place % 32, place // 8, place % 8] = 1.0
        torch.testing.assert_close(fast(x), conv(x), rtol=1e-4, atol=1e-5)


def test_elu_of_extreme_values() -> None:
    conv = layer(32, 32)
    x = torch.zeros(1, 32, 4, 4)
    x[0, :, 0, 0] = torch.cat([torch.linspace(-1e-3, 1e-3, 16), torch.linspace(-200, 20, 16)])
    found = convolve_and(with_winograd(conv), x, elu=True)
    torch.testing.assert_close(found, exact(conv, x, True, None, False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3, 2, 1), nn.Conv2d(32, 32, 1),
     nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1, bias=False)],
)  # fmt: skip
def test_other_convolutions_stay(conv: nn.Conv2d) -> None:
    assert with_winograd(conv) is conv


def test_without_numba_convolutions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.winograd, "find_spec", lambda name: None)
    conv = layer(32, 32)
    assert with_winograd(conv) is conv


def test_where_it_does_not_suit_the_convolution_itself_computes() -> None:
    conv = layer(32, 32)
    fast, x = with_winograd(conv), torch.randn(1, 32, 6, 8)
    assert torch.equal(fast(x), conv(x))  # 6 is no multiple of 4
    even = torch.randn(1, 32, 8, 8)
    assert not torch.equal(fast(even), conv(even))
    torch.set_num_threads(2)
    assert torch.equal(fast(even), conv(even))
    torch.set_num_threads(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(even), conv(even)) and fast(even).dtype == torch.bfloat16
    program = torch.export.export(fast, (even,))
    assert torch.equal(program.module()(even), conv(even))


def wide_model() -> HF2VAD:
    torch.manual_seed(0)
    memae = {"feature_root": 32, "num_slots": 16, "shrink_threshold": 0.03}
    return build_hf2vad(memae, {"nf_max": 64, "nf_start": 32}).eval()


def cubes(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(count, 15, 32, 32, generator=generator)
    return frames, torch.randn(count, 8, 32, 32, generator=generator)


def test_scores_of_a_wide_model_are_float32_equal(two_threads: None) -> None:
    model, batch = wide_model(), cubes(7)
    fused = fuse_for_inference(model)
    assert uses_winograd(fused) and not uses_winograd(model)
    expected, found = cube_errors(model, *batch), errors_of(fused, *batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.get_num_threads() == 2
    alone = [errors_of(fused, *(each[i : i + 1] for each in batch)) for i in range(7)]
    for name, values in found.items():  # whatever the batch, a cube's errors are its own
        together = torch.cat([errors[name] for errors in alone])
        torch.testing.assert_close(values, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_are_put_together_in_order(count: int, two_threads: None) -> None:
    x, y = torch.arange(float(count)), torch.arange(float(count)) + 100
    sizes: list[int] = []

    def work(a: Tensor, b: Tensor) -> dict[str, Tensor]:
        sizes.append(len(a))
        return {"sum": a + b, "first": a}

    found = in_parts(work, x, y)
    assert torch.equal(found["sum"], x + y) and torch.equal(found["first"], x)
    assert sorted(sizes) == ([count // 2, count - count // 2] if count > 1 else [1])


@pytest.mark.parametrize(("count", "parts"), [(15, 1), (16, 2)])
def test_few_items_stay_together(
    count: int, parts: int, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.parts, "FEWEST", 8)
    sizes: list[int] = []
    in_parts(lambda x: sizes.append(len(x)) or {"x": x}, torch.zeros(count))
    assert len(sizes) == parts


def test_an_error_in_a_part_is_raised(two_threads: None) -> None:
    def work(x: Tensor) -> dict[str, Tensor]:
        raise ValueError(f"{len(x)} items")

    with pytest.raises(ValueError, match="2 items"):
        in_parts(work, torch.zeros(4))
