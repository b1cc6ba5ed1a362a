"""Properties of the HF2-VAD networks that hold for any weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from losses.hf2vad import finetune_loss
from models.blocks import (
    DoubleConv,
    GroupedBatchNorm2d,
    NormConv2d,
    depth_to_space,
    space_to_depth,
)
from models.fuse import fuse_for_inference
from models.hf2vad import HF2VAD
from models.memory import Memory
from models.ml_memae_sc import MLMemAESC
from models.scorers import cube_errors, stage1_errors
from models.vunet import VUnet

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def make_model(seed: int = 0, **memae: object) -> HF2VAD:
    torch.manual_seed(seed)
    return HF2VAD(MLMemAESC(**{"feature_root": 2, "num_slots": 5} | memae), VUnet(8, 4))


def make_inputs(batch: int = 2, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, 15, 32, 32, generator=generator)
    return frames, torch.randn(batch, 8, 32, 32, generator=generator)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    layout=st.sampled_from(LAYOUTS),
)
def test_depth_to_space_is_undone(
    batch: int, channels: int, height: int, width: int, layout: torch.memory_format
) -> None:
    x = torch.randn(batch, 4 * channels, height, width).contiguous(memory_format=layout)
    spread = depth_to_space(x)
    assert spread.shape == (batch, channels, 2 * height, 2 * width)
    assert torch.equal(space_to_depth(spread), x)


def test_depth_to_space_order_is_dy_dx_channel() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1)  # two channels, four sub-pixels
    assert depth_to_space(x)[0, 0].tolist() == [[0, 2], [4, 6]]
    assert depth_to_space(x)[0, 1].tolist() == [[1, 3], [5, 7]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), slots=st.integers(1, 12), threshold=st.sampled_from([0.0, 0.05]))
def test_memory_reads_convex_combinations(seed: int, slots: int, threshold: float) -> None:
    torch.manual_seed(seed)
    memory = Memory(slots, 2 * 3 * 3, threshold)
    read, attention = memory(3 * torch.randn(4, 2, 3, 3))
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(1), torch.ones(4))  # 1/12 passes the threshold
    assert (read.flatten(1) <= memory.slots.max(0).values + 1e-6).all()
    assert (read.flatten(1) >= memory.slots.min(0).values - 1e-6).all()


def test_shrinkage_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    memory = Memory(10, 18, shrink_threshold=0.1)
    query = 4 * torch.randn(6, 18)
    dense = F.softmax(query @ memory.slots.T, dim=1)
    shrunk = F.relu(dense - 0.1) * dense / ((dense - 0.1).abs() + 1e-12)
    torch.testing.assert_close(memory.address(query), F.normalize(shrunk, p=1, dim=1))
    assert (memory.address(query) == 0).any()


def test_memory_with_nothing_above_the_threshold_reads_zero() -> None:
    memory = Memory(4, 18, shrink_threshold=0.9)
    read, attention = memory(torch.zeros(2, 2, 3, 3))
    assert not attention.any() and not read.any()


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_norm_conv_is_weight_norm_gain_and_shift(kernel_size: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = NormConv2d(3, 5, kernel_size, stride)
    nn.init.normal_(layer.gamma)
    nn.init.normal_(layer.beta)
    nn.init.uniform_(layer.length, 0.5, 2.0)
    weight = layer.length * F.normalize(layer.direction.flatten(1)).view_as(layer.direction)
    x = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(x, weight, layer.conv_bias, stride, kernel_size // 2)
    torch.testing.assert_close(layer(x), layer.gamma * expected + layer.beta)


def test_norm_conv_starts_as_a_plain_convolution() -> None:
    layer = NormConv2d(3, 5, 3)
    weight, bias = layer.folded()
    torch.testing.assert_close(weight, layer.direction)
    torch.testing.assert_close(bias, layer.conv_bias)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grouped_batch_norm_is_one_pass_a_group(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    grouped, reference = GroupedBatchNorm2d(3), nn.BatchNorm2d(3)
    x = (torch.randn(8, 3, 4, 4) * torch.arange(1.0, 9).view(8, 1, 1, 1)).contiguous(
        memory_format=layout
    )
    found = grouped(x, num_groups=4)
    for group in range(4):
        torch.testing.assert_close(found[group::4], reference(x[group::4]))
    torch.testing.assert_close(dict(grouped.named_buffers()), dict(reference.named_buffers()))


def test_grouped_batch_norm_in_evaluation_ignores_groups() -> None:
    layer = GroupedBatchNorm2d(3).eval()
    x = torch.randn(8, 3, 4, 4)
    assert torch.equal(layer(x, num_groups=4), layer(x))


@pytest.mark.parametrize("mem_usage", [(False,) * 4, (False, True, False, True)])
@pytest.mark.parametrize("skip_ops", [("none",) * 3, ("concat",) * 3])
def test_autoencoder_shapes(mem_usage: tuple[bool, ...], skip_ops: tuple[str, ...]) -> None:
    memae = MLMemAESC(2, 5, 0.0, mem_usage, skip_ops)
    output = memae(torch.randn(3, 2, 32, 32))
    assert output["flow_recon"].shape == (3, 2, 32, 32)
    assert [a.shape for a in output["attention"]] == [(3, 5)] * sum(mem_usage)


@pytest.mark.parametrize(
    "switches", [{"mem_usage": [True] * 4}, {"mem_usage": [False]}, {"skip_ops": ["add"] * 3}]
)
def test_wrong_switches_are_refused(switches: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(switches))):
        MLMemAESC(2, 5, **switches)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="nf_max"):
        VUnet(nf_max=8, nf_start=8)


def test_evaluation_is_deterministic_and_needs_no_prior() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    first, second = model(frames, flows), model(frames, flows, with_prior=True)
    assert torch.equal(first["frame_pred"], second["frame_pred"])
    assert first["p_means"] == [] and len(second["p_means"]) == 2
    assert torch.equal(first["frame_target"], frames[:, 12:])


def test_training_draws_from_the_global_generator() -> None:
    model, (frames, flows) = make_model().train(), make_inputs()
    torch.manual_seed(3)
    first = model(frames, flows)["frame_pred"]
    second = model(frames, flows)["frame_pred"]
    torch.manual_seed(3)
    again = model(frames, flows)["frame_pred"]
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_known_reconstruction_gives_the_same_frame() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    full = model(frames, flows)
    cached = model(frames, flows, flow_recon=full["flow_recon"])
    assert torch.equal(full["frame_pred"], cached["frame_pred"])
    assert cached["attention"] == []


def test_every_flow_is_rebuilt_by_itself() -> None:
    memae, flows = make_model().memae.eval(), make_inputs()[1]
    together = memae(flows)["flow_recon"]
    alone = torch.cat([memae(flow)["flow_recon"] for flow in flows.split(2, dim=1)], dim=1)
    torch.testing.assert_close(together, alone)


def test_scores_are_sums_of_squares_of_each_cube() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs(3)
    errors, output = cube_errors(model, frames, flows), model(frames, flows)
    expected = (output["flow_recon"] - flows).square().sum((1, 2, 3))
    torch.testing.assert_close(errors["flow_error"], expected)
    assert {name: value.shape for name, value in errors.items()} == dict.fromkeys(
        ["flow_error", "frame_error", "energy"], (3,)
    )
    last = stage1_errors(model.memae, flows)
    torch.testing.assert_close(last["energy"], flows[:, 6:].square().sum((1, 2, 3)))
    with pytest.raises(ValueError, match="training mode"):
        cube_errors(model.train(), frames, flows)


@pytest.mark.parametrize("final_act", [False, True])
def test_fused_model_is_equal(final_act: bool) -> None:
    model, (frames, flows) = make_model(), make_inputs()
    model.vunet = VUnet(8, 4, final_act=final_act)
    model.train()(frames, flows)  # moves the running statistics away from their start
    fused = fuse_for_inference(model)
    assert not any(isinstance(m, NormConv2d | nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) and model.training
    expected, found = cube_errors(model.eval(), frames, flows), cube_errors(fused, frames, flows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_training_step_has_finite_float32_gradients() -> None:
    model, (frames, flows) = make_model().train(), make_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(frames, flows)
        losses = finetune_loss(output, flows)
    assert all(a.dtype == torch.float32 for a in output["attention"])
    assert output["frame_pred"].dtype == output["flow_recon"].dtype == torch.float32
    losses["total"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []


def test_channels_last_is_equal() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    expected = cube_errors(model, frames, flows)
    model = model.to(memory_format=torch.channels_last)
    found = cube_errors(model, frames.to(memory_format=torch.channels_last), flows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_published_initialisation() -> None:
    torch.manual_seed(0)
    block = MLMemAESC(8, 4).down3.block
    assert isinstance(block, DoubleConv)
    expected = (2 / (1 + 0.1**2) / block.conv1.weight[0].numel()) ** 0.5
    assert block.conv1.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert block.norm1.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not block.norm1.bias.any()
