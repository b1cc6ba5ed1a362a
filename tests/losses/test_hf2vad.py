"""The losses of HF2-VAD: values by hand, bounds, names, weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losses.hf2vad import (
    attention_entropy,
    cvae_loss,
    finetune_loss,
    gradient_difference,
    kl_of_means,
    memae_loss,
)
from utils.config.hf2vad import CVAEStageConfig, FinetuneStageConfig, MemAEStageConfig

CPU = torch.device("cpu")


def make_output(seed: int = 0, batch: int = 3) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "frame_pred": normal(batch, 3, 32, 32).sigmoid(),
        "frame_target": normal(batch, 3, 32, 32).sigmoid(),
        "flow_recon": normal(batch, 8, 32, 32),
        "attention": [normal(4 * batch, 6).softmax(1), normal(4 * batch, 6).softmax(1)],
        "q_means": [normal(batch, 4, 4, 4), normal(batch, 4, 8, 8)],
        "p_means": [normal(batch, 4, 4, 4), normal(batch, 4, 8, 8)],
    }


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), norm=st.sampled_from([1, 2]), alpha=st.floats(1.0, 2.0))
def test_terms_are_non_negative_and_add_up(seed: int, norm: int, alpha: float) -> None:
    output = make_output(seed)
    flows = torch.zeros(3, 8, 32, 32)
    weights = {"recon": 0.5, "sparse": 0.25, "kl": 2.0, "frame": 3.0, "grad": 4.0}
    arguments = {f"lam_{name}": value for name, value in weights.items()}
    losses = finetune_loss(
        output, flows, FinetuneStageConfig(**arguments, intensity_loss_norm=norm, alpha=alpha)
    )
    assert set(losses) == {"kl", "frame", "grad", "recon", "sparsity", "total"}
    assert all(value >= 0 and value.dtype == torch.float32 for value in losses.values())
    expected = sum(weights.get(name, 0.0) * float(value) for name, value in losses.items())
    expected += weights["sparse"] * float(losses["sparsity"])
    assert float(losses["total"]) == pytest.approx(expected, rel=1e-5)


def test_finetune_joins_the_stages() -> None:
    output, flows = make_output(), torch.ones(3, 8, 32, 32)
    joint = finetune_loss(output, flows, FinetuneStageConfig())
    flow_terms, frame_terms = (
        memae_loss(output, flows, MemAEStageConfig()),
        cvae_loss(output, CVAEStageConfig()),
    )
    assert set(flow_terms) == {"recon", "sparsity", "total"}
    assert set(frame_terms) == {"kl", "frame", "grad", "total"}
    torch.testing.assert_close(joint["total"], flow_terms["total"] + frame_terms["total"])


def test_a_perfect_output_costs_nothing() -> None:
    output = make_output()
    output["frame_pred"] = output["frame_target"]
    output["p_means"] = output["q_means"]
    output["attention"] = [torch.eye(6)]  # one slot each: no entropy
    losses = finetune_loss(output, output["flow_recon"], FinetuneStageConfig())
    assert all(abs(float(value)) < 1e-6 for value in losses.values())


def test_entropy_of_uniform_attention() -> None:
    uniform = torch.full((5, 8), 1 / 8)
    entropy = attention_entropy([uniform, uniform], CPU)
    assert float(entropy) == pytest.approx(2 * math.log(8), rel=1e-5)


def test_no_memory_no_sparsity_and_finite_gradients_at_zero() -> None:
    assert float(attention_entropy([], CPU)) == 0.0
    attention = torch.eye(4, requires_grad=True)
    attention_entropy([attention], CPU).backward()
    assert attention.grad is not None and attention.grad.isfinite().all()


def test_kl_of_shifted_means() -> None:
    means = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8)]
    shifted = [means[0] + 2.0, means[1] + 1.0]
    assert float(kl_of_means(means, shifted)) == pytest.approx(0.5 * (4 * 48 + 192))


def test_kl_needs_the_prior() -> None:
    with pytest.raises(ValueError, match="run the prior"):
        kl_of_means([torch.zeros(1, 2, 4, 4)], [])


def loop_gradient_difference(predicted: Tensor, target: Tensor, alpha: float) -> float:
    """The definition, pixel by pixel, each image differentiated by itself."""
    total, (batch, _, height, width) = 0.0, predicted.shape
    images = [predicted.sum(1).tolist(), target.sum(1).tolist()]
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                dx = [im[b][y][x] - (im[b][y][x - 1] if x else 0.0) for im in images]
                dy = [im[b][y][x] - (im[b][y - 1][x] if y else 0.0) for im in images]
                total += abs(dx[0] - dx[1]) ** alpha + abs(dy[0] - dy[1]) ** alpha
    return total / (batch * height * width)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), alpha=st.sampled_from([1.0, 1.5, 2.0]))
def test_gradient_difference_is_its_definition(seed: int, alpha: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.rand(2, 2, 3, 5, 4, generator=generator)
    expected = loop_gradient_difference(predicted, target, alpha)
    found = float(gradient_difference(predicted, target, alpha))
    assert found == pytest.approx(expected, rel=1e-4)


def test_intensity_norms() -> None:
    output = make_output()
    difference = (output["frame_pred"] - output["frame_target"]).abs()
    absolute = cvae_loss(output, CVAEStageConfig(intensity_loss_norm=1))["frame"]
    squared = cvae_loss(output, CVAEStageConfig(intensity_loss_norm=2))["frame"]
    torch.testing.assert_close(absolute, difference.mean())
    torch.testing.assert_close(squared, difference.square().mean())


def test_low_precision_outputs_are_lifted_to_float32() -> None:
    output = make_output()
    half = {
        key: [t.bfloat16() for t in value] if isinstance(value, list) else value.bfloat16()
        for key, value in output.items()
    }
    losses = finetune_loss(half, torch.zeros(3, 8, 32, 32), FinetuneStageConfig())
    exact = finetune_loss(output, torch.zeros(3, 8, 32, 32), FinetuneStageConfig())
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=2e-2, atol=1e-3)
