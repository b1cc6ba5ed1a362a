"""Whole models scored with models.cpu against torch, and batches in parts."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import models.cpu.parts
from models.cpu.convolution import Prepared
from models.cpu.faster import has_faster
from models.cpu.parts import in_parts
from models.cpu.patches import PatchConv2d
from models.cpu.reading import PackedMemory
from models.cpu.winograd import WinogradConv2d
from models.hf2vad.errors import cube_errors
from models.hf2vad.from_checkpoint import errors_of
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from models.layers.memory import Memory
from tests.helpers.cpu_layers import conv2d, needs_tiles, random

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(models.cpu.parts, "FEWEST", 1)


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
