"""BatchNorm and ReLU in one operation, in bfloat16 on a CPU, against double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cpu import amx, norm_relu
from models.layers.blocks import DoubleConv, GroupedBatchNorm2d

pytestmark = pytest.mark.skipif(not amx.compiles(), reason="Numba is not to compile")


def values(*shape: int, about: float = 0.0) -> Tensor:
    x = about + 2 * torch.randn(*shape)
    return x.bfloat16().contiguous(memory_format=torch.channels_last)


def layer(channels: int) -> GroupedBatchNorm2d:
    norm = GroupedBatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.normal_()
    return norm


def in_double(norm: GroupedBatchNorm2d, x: Tensor, grad: Tensor, num_groups: int) -> list[Tensor]:
    """Result, gradients of x, weight and bias, running statistics."""
    norm, x = copy.deepcopy(norm).double(), x.detach().double().requires_grad_()
    y = F.relu(norm(x, num_groups))
    y.backward(grad.double())
    return [y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "num_groups"),
    [((6, 16, 32, 32), 1), ((12, 48, 5, 3), 4), ((2, 64, 4, 4), 2), ((5, 32, 1, 1), 1)],
)
@pytest.mark.parametrize("about", [0.0, 50.0])
def test_result_gradients_and_statistics(shape, num_groups, threads, about) -> None:
    torch.manual_seed(0)
    norm, x, grad = layer(shape[1]), values(*shape, about=about), values(*shape)
    expected = in_double(norm, x, grad, num_groups)
    count = int(norm.num_batches_tracked)
    torch.set_num_threads(threads)
    x = x.requires_grad_()
    assert norm_relu.suits(x)
    y = norm.then_relu(x, num_groups)
    y.backward(grad)
    found = [y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert norm.num_batches_tracked == count + num_groups
    for ours, exact, tolerance in zip(found, expected, [3e-3, 3e-3, *[1e-4] * 4], strict=True):
        assert (ours.double() - exact).norm() <= tolerance * exact.norm() + 1e-6


def test_what_is_no_number_stays_so() -> None:
    x = values(4, 16, 4, 4)
    x[1, 3, 2, 2] = float("nan")
    y = layer(16).then_relu(x)
    assert y[:, 3].isnan().all() and not y[:, :3].isnan().any()


def test_it_follows_the_memory_of_a_large_set() -> None:
    """More rows than are added up in float32, and a number that no thread count divides."""
    torch.manual_seed(0)
    norm, x = layer(16), values(7, 16, 61, 37, about=3.0)
    y = norm.then_relu(x)
    exact = in_double(norm, x, torch.zeros_like(x), 1)[0]
    assert (y.double() - exact).norm() < 3e-3 * exact.norm()


@pytest.mark.parametrize("case", ["float32", "channels", "layout", "evaluation"])
def test_other_values_take_torchs_way(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it does not suit")

    monkeypatch.setattr(norm_relu.NormRelu, "apply", fail)
    channels = 8 if case == "channels" else 16
    norm, x = layer(channels), values(4, channels, 8, 8)
    if case == "float32":
        x = x.float()
    if case == "layout":
        x = x.contiguous()
    if case == "evaluation":
        norm.eval()
    expected = F.relu(copy.deepcopy(norm)(x))
    assert torch.equal(norm.then_relu(x.clone(memory_format=torch.preserve_format)), expected)


def test_a_block_trains_alike_with_and_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = DoubleConv(16, 32)
    x = values(8, 16, 16, 16).float().contiguous(memory_format=torch.channels_last)
    results = []
    for ours in (True, False):
        if not ours:
            monkeypatch.setattr(norm_relu, "suits", lambda _: False)
        one = copy.deepcopy(block)
        with torch.autocast("cpu", torch.bfloat16):
            y = one(x, 2)
        y.float().square().mean().backward()
        results.append([y.detach().float(), *(p.grad for p in one.parameters())])
    for ours, theirs in zip(*results, strict=True):
        near = (ours - theirs).norm() <= 0.02 * theirs.norm() + 1e-3
        assert near
