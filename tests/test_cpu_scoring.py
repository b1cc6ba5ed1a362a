"""What models.cpu computes, against torch: layers, batches in parts, whole models.

Everything is tried with matrix tiles (AMX), where the processor has them, and without.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import models.cpu.parts
from models.blocks import depth_to_space
from models.cpu import amx
from models.cpu.convolution import CpuConv2d, Prepared, convolve_and
from models.cpu.faster import faster_conv, faster_memory, faster_upsampling, has_faster
from models.cpu.parts import in_parts
from models.cpu.patches import PatchConv2d, PatchConvTranspose2d
from models.cpu.products import pack, product
from models.cpu.reading import PackedMemory
from models.cpu.winograd import WinogradConv2d
from models.fuse import fuse_for_inference
from models.hf2vad import HF2VAD, build_hf2vad
from models.memory import Memory
from models.rebuild import errors_of
from models.scorers import cube_errors

needs_tiles = pytest.mark.skipif(not amx.usable(), reason="this processor has no AMX")
ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[pytest.param(True, marks=needs_tiles), False], ids=["tiles", "no_tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether layers made in the test may use tiles."""
    monkeypatch.setattr(amx, "usable", lambda: request.param)
    return request.param


@pytest.fixture
def two_threads(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(models.cpu.parts, "FEWEST", 1)


def conv2d(in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    torch.manual_seed(in_channels)
    conv = nn.Conv2d(in_channels, out_channels, size, stride, size // 2)
    return conv.requires_grad_(False)


def random(*shape: int, layout: torch.memory_format = torch.channels_last) -> Tensor:
    return torch.randn(*shape).contiguous(memory_format=layout)


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


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(32, 32, 3), nn.Conv2d(32, 40, 3, 2, 1), nn.Conv2d(32, 48, 1),
     nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1, bias=False),
     nn.Conv2d(64, 64, (3, 1), padding=(1, 0)), nn.Conv2d(64, 64, 3, padding=1, groups=2)],
)  # fmt: skip
def test_other_convolutions_stay(conv: nn.Conv2d, tiles) -> None:
    assert faster_conv(conv) is conv


def test_small_memories_stay(tiles) -> None:
    for memory in (Memory(255, 512, 0.0), Memory(512, 255, 0.0)):
        assert faster_memory(memory) is memory


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


def wide_model() -> HF2VAD:
    """Wide enough for all of it, with features and attention of an ordinary size."""
    torch.manual_seed(0)
    memae = {"feature_root": 32, "num_slots": 256, "shrink_threshold": 1 / 256}
    model = build_hf2vad(memae, {"nf_max": 64, "nf_start": 32}).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 2.0)
    return model


def cubes(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(count, 15, 32, 32, generator=generator)
    return frames, torch.randn(count, 8, 32, 32, generator=generator)


def test_scores_of_a_wide_model_are_float32_equal(two_threads: None, tiles) -> None:
    model, batch = wide_model(), cubes(9)
    fused = fuse_for_inference(model)
    assert has_faster(fused) and not has_faster(model)
    assert any(isinstance(module, PackedMemory) for module in fused.modules()) == tiles
    expected, found = cube_errors(model, *batch), errors_of(fused, *batch)
    rtol = 2e-4 if tiles else 1e-5
    assert_close(found, expected, rtol=rtol, atol=0)
    assert torch.get_num_threads() == 2
    alone = [errors_of(fused, *(each[i : i + 1] for each in batch)) for i in range(9)]
    for name, values in found.items():  # whatever the batch, a cube's errors are its own
        together = torch.cat([errors[name] for errors in alone])
        assert_close(values, together, rtol=rtol, atol=0)


def test_networks_outputs_of_a_wide_model(tiles) -> None:
    model, batch = wide_model(), cubes(4)
    with torch.inference_mode():
        expected, found = model(*batch), fuse_for_inference(model)(*batch)
    for name in ("flow_recon", "frame_pred"):
        off = (found[name] - expected[name]).square().mean().sqrt() / expected[name].std()
        assert off < (1e-4 if tiles else 1e-5)


def test_a_model_in_use_can_be_copied_and_sent(two_threads: None) -> None:
    """To a process that has not asked for tiles, say; what is prepared stays here."""
    fused, batch = fuse_for_inference(wide_model()), cubes(9)
    expected = errors_of(fused, *batch)
    kept = [module.prepared for module in fused.modules() if isinstance(module, Prepared)]
    assert any(each is not None for each in kept)
    sent = pickle.loads(pickle.dumps(fused))
    for other in (sent, copy.deepcopy(fused)):
        assert all(m.prepared is None for m in other.modules() if isinstance(m, Prepared))
        assert_close(errors_of(other, *batch), expected, rtol=1e-6, atol=0)


@needs_tiles
def test_tiles_are_asked_for_where_they_are_used(tmp_path: Path) -> None:
    """A fresh process unpickles fast layers, and runs them, without having made any."""
    layers = [
        WinogradConv2d(conv2d(32, 32)),
        PatchConv2d(conv2d(32, 32, 1)),
        PackedMemory(Memory(256, 32 * 64, 0.0).requires_grad_(False)),
    ]
    torch.save((layers, x := random(16, 32, 8, 8)), tmp_path / "layers.pt")
    program = (
        "import sys, torch; torch.set_num_threads(1);"
        "layers, x = torch.load(sys.argv[1], weights_only=False);"
        "print([torch.is_tensor(layer(x)) or len(layer(x)) for layer in layers])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "layers.pt")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[True, True, 2]" and x.shape[0] == 16


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
    monkeypatch.setattr(models.cpu.parts, "FEWEST", 8)
    sizes: list[int] = []
    in_parts(lambda x: sizes.append(len(x)) or {"x": x}, torch.zeros(count))
    assert len(sizes) == parts


def test_an_error_in_a_part_is_raised(two_threads: None) -> None:
    def work(x: Tensor) -> dict[str, Tensor]:
        raise ValueError(f"{len(x)} items")

    with pytest.raises(ValueError, match="2 items"):
        in_parts(work, torch.zeros(4))
