"""Properties of the building blocks and the memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.layers.blocks import NormConv2d, depth_to_space, normalise_groups, space_to_depth
from models.layers.folding import folded_together
from models.layers.memory import Memory

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@settings(max_examples=25)
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


@settings(max_examples=25)
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


def test_what_passes_the_threshold_is_scaled_up_to_one() -> None:
    memory = Memory(20, 1, shrink_threshold=0.05)
    nn.init.zeros_(memory.slots)
    memory.slots.data[3] = math.log(1.2)  # 1.2 / 20.2 = 0.059; the others 0.0495
    attention = memory.address(torch.ones(1, 1))
    assert attention[0, 3] == 1.0 and attention.sum() == 1.0


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
    grouped, reference = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    x = (torch.randn(8, 3, 4, 4) * torch.arange(1.0, 9).view(8, 1, 1, 1)).contiguous(
        memory_format=layout
    )
    found = normalise_groups(grouped, x, 4)
    for group in range(4):
        part = slice(2 * group, 2 * group + 2)
        torch.testing.assert_close(found[part], reference(x[part]))
    torch.testing.assert_close(dict(grouped.named_buffers()), dict(reference.named_buffers()))


def test_grouped_batch_norm_in_evaluation_ignores_groups() -> None:
    layer = nn.BatchNorm2d(3).eval()
    x = torch.randn(8, 3, 4, 4)
    assert torch.equal(normalise_groups(layer, x, 4), layer(x))


def test_layers_folded_together_equal_those_that_fold_alone() -> None:
    torch.manual_seed(0)
    kinds = [(3, 5, 1, 1), (3, 4, 3, 2), (5, 5, 3, 1), (3, 2, 3, 1)]
    network = nn.Sequential(nn.Linear(2, 2), *(NormConv2d(*kind) for kind in kinds))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    layers = list(network)[1:]
    alone, gradients = [layer.folded() for layer in layers], []
    with folded_together(network):
        together = [layer.folded() for layer in layers]
    for expected, found in zip(alone, together, strict=True):
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))
    for folds in (alone, together):
        network.zero_grad()
        sum((weight.square().sum() + 3 * bias.sum()) for weight, bias in folds).backward()
        gradients.append([each.grad for layer in layers for each in layer.parameters()])
    torch.testing.assert_close(*gradients)
    assert all(layer.ready is None for layer in layers)


def test_what_was_ready_is_forgotten_after_a_fault() -> None:
    network = nn.Sequential(NormConv2d(3, 5, 1))
    with pytest.raises(ValueError, match="no such"), folded_together(network):
        raise ValueError("no such thing")
    assert network[0].ready is None
