"""The CPU's dropout: rate, scale, memory order, seeds, gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from models.layers.blocks import dropout


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_the_share_and_the_scale_are_those_of_torch(probability, channels_last):
    torch.manual_seed(0)
    x = torch.ones(32, 16, 16, 16)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    out = dropout(x, probability, training=True)
    assert out.stride() == x.stride()
    assert set(out.unique().tolist()) == {0.0, out.max().item()}
    assert out.max().item() == pytest.approx(1 / (1 - probability))
    rates = (out == 0).float().mean(dim=(0, 2, 3))  # every channel by itself
    assert (rates - probability).abs().max() < 5 * (probability / 8192) ** 0.5


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32))
def test_a_seed_decides_the_mask_and_the_gradient_follows_it(size, seed):
    x = torch.rand(size, dtype=torch.float32).add_(1).requires_grad_()
    torch.manual_seed(seed)
    first = dropout(x, 0.3, training=True)
    torch.manual_seed(seed)
    assert torch.equal(first, dropout(x, 0.3, training=True))
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, first.detach() / x.detach())


def test_calls_differ_and_evaluation_keeps_all():
    x = torch.ones(1000)
    assert not torch.equal(dropout(x, 0.5, True), dropout(x, 0.5, True))
    assert dropout(x, 0.5, False) is x or torch.equal(
        dropout(x, 0.5, False), F.dropout(x, 0.5, False)
    )
    assert torch.equal(dropout(x, 0.0, True), x)
