"""Convolutions of models.cpu against torch, with matrix tiles (AMX) and without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from models.cpu import amx
from models.cpu.convolution import CpuConv2d, convolve_and
from models.cpu.faster import faster_conv, faster_memory, faster_upsampling
from models.cpu.patches import PatchConv2d, PatchConvTranspose2d
from models.cpu.winograd import WinogradConv2d
from models.layers.blocks import depth_to_space
from models.layers.memory import Memory
from tests.helpers.cpu_layers import conv2d, needs_tiles, random

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def exact(conv: nn.Conv2d, x: Tensor, elu=False, added=None, relu=False) -> Tensor:
    weight, bias, x = conv.weight.double(), conv.bias.double(), F.elu(x) if elu else x
    y = F.conv2d(x.double(), weight, bias, conv.stride, conv.padding)
    y = y if added is None else y + added
    return y.relu() if relu else y


def assert_near(found: Tensor, expected: Tensor, tiles: bool) -> None:
    """Within what float32, or split products, may be off, as a share of the values' size."""
    assert found.dtype == torch.float32 and found.shape == expected.shape
    off = (found.double() - expected).abs().max() / expected.double().square().mean().sqrt()
    assert off < (2e-3 if tiles else 5e-5)
    mean_off = (found.double() - expected).square().mean().sqrt() / expected.std()
    assert mean_off < (1e-4 if tiles else 5e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("channels", "batch", "height", "width"),
    [((32, 64), 5, 32, 32), ((64, 32), 9, 8, 4), ((48, 32), 1, 4, 12), ((32, 48), 3, 16, 16)],
)
def test_winograd_is_the_convolution(channels, batch, height, width, layout, tiles) -> None:
    conv = conv2d(*channels)
    found = faster_conv(conv)
    assert isinstance(found, WinogradConv2d)
    x = 3 * random(batch, channels[0], height, width, layout=layout)
    added = random(batch, channels[1], height, width, layout=layout)
    before = x.clone()
    for elu, plus, relu in [(False, None, False), (True, added, False), (False, added, True)]:
        result = convolve_and(found, x, elu=elu, added=plus, relu=relu)
        assert_near(result, exact(conv, x, elu, plus, relu), tiles)
    assert not torch.equal(found(x), conv(x))  # it was computed here
    assert torch.equal(x, before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_winograd_takes_channels_from_two_tensors(layout, tiles) -> None:
    conv = conv2d(96, 32)
    x, beside = random(3, 64, 8, 8, layout=layout), random(3, 32, 8, 8, layout=layout)
    result = convolve_and(faster_conv(conv), x, elu=True, beside=beside, relu=True)
    assert not torch.equal(result, conv(F.elu(torch.cat([x, beside], 1))).relu())
    assert_near(result, exact(conv, torch.cat([x, beside], 1), True, None, True), tiles)


def test_winograd_writes_to_a_larger_image(tiles) -> None:
    conv, x = conv2d(32, 128), random(3, 32, 8, 12)
    result = convolve_and(faster_conv(conv), x, upscale=2)
    assert result.shape == (3, 32, 16, 24)
    assert_near(result, depth_to_space(exact(conv, x)), tiles)


@pytest.mark.parametrize("out_channels", [32, 48])
def test_winograd_leaves_narrow_pixels_to_torch(out_channels: int, tiles) -> None:
    conv, x = conv2d(32, out_channels), random(2, 32, 8, 8)  # 8 and 12 channels a pixel
    result = convolve_and(faster_conv(conv), x, upscale=2)
    assert torch.equal(result, depth_to_space(conv(x)))


def test_gradients_pass_through_torch(tiles) -> None:
    conv, x = conv2d(32, 32), random(2, 32, 8, 8).requires_grad_()
    faster_conv(conv)(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_borders_and_tiles_one_by_one(tiles) -> None:
    conv = conv2d(32, 32)
    fast = faster_conv(conv)
    for place in range(64):  # one pixel at a time: a fault of one place cannot hide
        x = torch.zeros(1, 32, 8, 8)
        x[0, place % 32, place // 8, place % 8] = 1.0
        assert_close(fast(x), conv(x), rtol=0, atol=1e-4 if tiles else 1e-6)


def test_elu_of_extreme_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "usable", lambda: False)
    conv = conv2d(32, 32)
    x = torch.zeros(1, 32, 4, 4)
    x[0, :, 0, 0] = torch.cat([torch.linspace(-1e-3, 1e-3, 16), torch.linspace(-200, 20, 16)])
    found = convolve_and(faster_conv(conv), x, elu=True)
    expected = exact(conv, x, elu=True).float()
    assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_number_stays_so(tiles) -> None:
    x = random(1, 32, 8, 8)
    x[0, 3, 2, 2] = float("nan")
    found = convolve_and(faster_conv(conv2d(32, 32)), x, elu=True, relu=True)
    assert found[:, :, 1:4, 1:4].isnan().all()  # of a tile, more may be: it is one sum
    assert not found[:, :, 5:].isnan().any()


@needs_tiles
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 2), (5, 1), (5, 4)])
def test_patches_are_the_convolution(size: int, stride: int, layout) -> None:
    conv = conv2d(64, 96, size, stride)
    fast = faster_conv(conv)
    assert isinstance(fast, PatchConv2d)
    for batch in (1, 9):
        x = random(batch, 64, 8, 12, layout=layout)
        for elu in (False, True):
            assert_near(convolve_and(fast, x, elu=elu), exact(conv, x, elu), tiles=True)
    beside = random(9, 32, 8, 12)
    whole = convolve_and(fast, x[:, :32], beside=beside, relu=True)  # torch's, as it has both
    expected = exact(conv, torch.cat([x[:, :32], beside], 1), relu=True)
    assert_close(whole, expected.float(), rtol=1e-4, atol=1e-4)


@needs_tiles
@pytest.mark.parametrize(("in_channels", "out_channels"), [(32, 8), (64, 32), (96, 40)])
def test_patches_are_the_transposed_convolution(in_channels: int, out_channels: int) -> None:
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(in_channels, out_channels, 3, 2, 1, 1).requires_grad_(False)
    fast = faster_upsampling(conv)
    assert isinstance(fast, PatchConvTranspose2d)
    x = random(5, in_channels, 4, 6)
    expected = F.conv_transpose2d(
        x.double(), conv.weight.double(), conv.bias.double(), 2, 1, 1
    )  # fmt: skip
    assert_near(fast(x), expected, tiles=True)
    torch.set_num_threads(2)
    assert torch.equal(fast(x), conv(x))


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(32, 32, 3), nn.Conv2d(32, 40, 3, 2, 1), nn.Conv2d(32, 48, 1),
     nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1, bias=False),
     nn.Conv2d(64, 64, (3, 1), padding=(1, 0)), nn.Conv2d(64, 64, 3, padding=1, groups=2)],
)  # fmt: skip
def test_other_convolutions_stay(conv: nn.Conv2d, tiles) -> None:
    assert faster_conv(conv) is conv


def test_without_tiles_only_winograds_method_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "usable", lambda: False)
    memory, up = Memory(512, 512, 0.0), nn.ConvTranspose2d(32, 32, 3, 2, 1, 1)
    strided = conv2d(32, 32, 3, 2)
    assert faster_memory(memory) is memory and faster_upsampling(up) is up
    assert faster_conv(strided) is strided
    assert isinstance(faster_conv(conv2d(32, 32)), WinogradConv2d)


def test_without_numba_convolutions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "find_spec", lambda name: None)
    assert faster_conv(conv := conv2d(32, 32)) is conv
    monkeypatch.undo()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert faster_conv(conv) is conv


@pytest.mark.parametrize("kind", [WinogradConv2d, pytest.param(PatchConv2d, marks=needs_tiles)])
def test_where_it_does_not_suit_the_convolution_itself_computes(kind: type[CpuConv2d]) -> None:
    conv = conv2d(32, 32)
    fast, x = kind(conv), torch.randn(1, 32, 8, 8)
    assert not torch.equal(fast(x), conv(x))
    torch.set_num_threads(2)
    assert torch.equal(fast(x), conv(x))
    torch.set_num_threads(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(x), conv(x)) and fast(x).dtype == torch.bfloat16
    program = torch.export.export(fast, (x,))
    assert torch.equal(program.module()(x), conv(x))


def test_odd_sizes_are_left_to_the_convolution(tiles) -> None:
    conv, x = conv2d(32, 32), torch.randn(1, 32, 6, 8)
    assert torch.equal(faster_conv(conv)(x), conv(x))  # 6 is no multiple of 4
    strided, x = conv2d(32, 32, 3, 2), torch.randn(1, 32, 7, 8)
    assert torch.equal(faster_conv(strided)(x), strided(x))
