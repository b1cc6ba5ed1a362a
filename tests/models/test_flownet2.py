"""FlowNet2: reference outputs, its primitives against plain loops, memory, devices, precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.flownet2.blocks import channel_norm, correlation, warp
from models.flownet2.flownet2 import FlowNet2, build_flownet2

SUB_NETWORKS = ("flownetc", "flownets_1", "flownets_2", "flownets_d")


def formula_tensor(index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Weight number ``index`` of the reference's formula."""
    wave = np.sin(12.9898 * np.arange(np.prod(shape)) + 78.233 * index) * 43758.5453
    uniform = wave - np.floor(wave) - 0.5
    scale = 0.02 if len(shape) == 1 else 2 * np.sqrt(6 / np.prod(shape[1:]))
    return torch.from_numpy((scale * uniform).astype(np.float32).reshape(shape))


@pytest.fixture(scope="module")
def reference(vad_data: Path):
    """The reference arrays, and the network with the formula's weights."""
    arrays = np.load(vad_data / "reference" / "flownet2_formula_weights.npz")
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in FlowNet2().state_dict().items()}
    state = {key: formula_tensor(i, shapes[key]) for i, key in enumerate(sorted(shapes))}
    return arrays, build_flownet2(state)


def relative_error(found: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference relative to the largest expected value."""
    target = torch.from_numpy(expected)
    return ((found.cpu().float() - target).abs().max() / target.abs().max()).item()


def test_keys_and_shapes_are_the_published_ones(vad_data: Path):
    arrays = np.load(vad_data / "reference" / "flownet2_formula_weights.npz")
    with torch.device("meta"):
        model = FlowNet2()
    found = {key: str(tuple(value.shape)) for key, value in model.state_dict().items()}
    assert found == dict(zip(arrays["keys"].tolist(), arrays["shapes"].tolist(), strict=True))
    assert len(found) == 220
    assert sum(parameter.numel() for parameter in model.parameters()) == 162_518_834


def test_outputs_equal_the_reference_in_a_batch(reference):
    arrays, model = reference
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
        for name in SUB_NETWORKS
    ]
    pair = torch.from_numpy(arrays["input"])
    with torch.inference_mode():
        flow = model(torch.cat([pair, pair.flip(2)]))
    for hook in hooks:
        hook.remove()
    assert relative_error(flow[:1], arrays["flow"]) < 1e-4
    for name in SUB_NETWORKS:
        assert relative_error(outputs[name][:1], arrays[f"flow2/{name}"]) < 1e-4
    assert relative_error(flow[1:], arrays["flow"]) > 0.01, "the second pair is another one"


def test_bfloat16_stays_near(reference):
    arrays, model = reference
    pair = torch.from_numpy(arrays["input"])[..., :64, :64]  # processors without it are slow
    with torch.inference_mode():
        exact = model(pair)
        with torch.autocast("cpu", torch.bfloat16):
            flow = model(pair)
    assert flow.dtype == torch.float32
    assert 1e-6 < relative_error(flow, exact.numpy()) < 0.03


def test_gpu_equals_cpu(reference):
    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    arrays, model = reference
    with torch.inference_mode():
        flow = model.cuda()(torch.from_numpy(arrays["input"]).cuda())
    model.cpu()
    assert relative_error(flow, arrays["flow"]) < 1e-3


def test_sizes_that_are_no_multiple_of_64_are_refused():
    with torch.device("meta"):
        model, frames = FlowNet2(), torch.empty(1, 3, 2, 64, 96)
    with pytest.raises(ValueError, match="multiple of 64"):
        model(frames)


def plain_correlation(first: np.ndarray, second: np.ndarray, reach: int, step: int) -> np.ndarray:
    """The definition, displacement by displacement."""
    _, height, width = first.shape
    padded = np.pad(second, ((0, 0), (reach, reach), (reach, reach)))
    offsets = range(0, 2 * reach + 1, step)
    maps = [
        (first * padded[:, dy : dy + height, dx : dx + width]).mean(0)
        for dy in offsets
        for dx in offsets
    ]
    return np.stack(maps)


@settings(max_examples=25)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9)
)
def test_correlation_equals_its_definition(step, rows, columns, radius, seed):
    random = np.random.default_rng(seed)
    shape = (2, 3, rows * step, columns * step)
    first, second = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    found = correlation(torch.from_numpy(first), torch.from_numpy(second), radius * step, step)
    for sample in range(2):
        expected = plain_correlation(first[sample], second[sample], radius * step, step)
        np.testing.assert_allclose(found[sample].numpy(), expected, atol=1e-5)


def test_correlation_stays_in_float32_under_autocast():
    first, second = torch.randn(2, 1, 64, 8, 8).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        found = correlation(first, second, 4, 2)
    assert torch.equal(found, correlation(first, second, 4, 2))


MEASURE_CORRELATION = """
import resource, sys, torch
from models.flownet2.blocks import correlation
torch.set_num_threads(1)
first, second = torch.randn(2, 1, 256, 96, 128).unbind()
correlation(first[..., :8, :8], second[..., :8, :8])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
correlation(first, second)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_correlation_memory_is_bounded_at_1024x768():
    command = [sys.executable, "-c", MEASURE_CORRELATION]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    used_mib = float(result.stdout)
    # Inputs 12 MiB each (copied twice), output 21 MiB; 441 shifted products would be 5 GiB.
    assert used_mib < 150


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 20), st.integers(0, 9))
def test_warp_clamps_each_neighbour(height, width, spread, seed):
    random = np.random.default_rng(seed)
    image = random.standard_normal((height, width)).astype(np.float32)
    flow = (spread * random.standard_normal((2, height, width))).astype(np.float32)
    found = warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow)[None])[0, 0]
    for y in range(height):
        for x in range(width):
            at_x, at_y = x + flow[0, y, x], y + flow[1, y, x]
            left, top = int(np.floor(at_x)), int(np.floor(at_y))
            expected = sum(
                (1 - abs(at_x - i)) * (1 - abs(at_y - j)) * image[clamp(j, height), clamp(i, width)]
                for i in (left, left + 1)
                for j in (top, top + 1)
            )
            assert found[y, x].item() == pytest.approx(expected, abs=1e-3)


def clamp(index: int, size: int) -> int:
    """Nearest index inside."""
    return min(max(index, 0), size - 1)


def test_channel_norm_has_no_epsilon():
    values = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert channel_norm(values).item() == 5.0
    assert channel_norm(0 * values).item() == 0.0
