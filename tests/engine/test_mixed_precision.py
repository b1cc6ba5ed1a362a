"""What training in bfloat16 computes in its own way on a CPU, against float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.hf2vad.ml_memae_sc import MLMemAESC
from models.layers.blocks import NormConv2d
from models.layers.convolution import Conv2d, conv2d
from models.layers.memory import Memory

SWITCH = torch.backends.mkldnn.matmul


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative to the size of what is expected."""
    return ((found.float() - expected).norm() / expected.norm()).item()


def read_memory(precision: torch.dtype) -> dict[str, Tensor]:
    """Results and gradients of reading a memory: features of a few units, attention uneven."""
    torch.manual_seed(0)
    memory = Memory(40, 4 * 4 * 8, 0.01)
    torch.nn.init.normal_(memory.slots, std=0.3)
    features = torch.randn(12, 8, 4, 4, requires_grad=True)
    towards_read, towards_attention = torch.randn(12, 8, 4, 4), torch.randn(12, 40)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        read, attention = memory(features.to(precision))
    ((read.float() * towards_read).sum() + (attention * towards_attention).sum()).backward()
    assert read.dtype == precision and attention.dtype == torch.float32
    return {
        "read": read.detach(), "attention": attention.detach(),
        "features": features.grad, "slots": memory.slots.grad,
    }  # fmt: skip


def test_a_memory_reads_and_learns_as_in_float32() -> None:
    expected, found = read_memory(torch.float32), read_memory(torch.bfloat16)
    assert (expected["attention"] == 0).any() and expected["attention"].max() > 0.3
    for name, values in found.items():
        assert difference(values, expected[name]) < 0.03, name
        assert not torch.equal(values.float(), expected[name]), name
    assert found["slots"].dtype == torch.float32


def test_both_uses_of_the_slots_are_in_their_gradient() -> None:
    """Without either part the gradient is another one altogether."""
    torch.manual_seed(0)
    memory = Memory(40, 128, 0.0)
    query, towards = torch.randn(12, 128), torch.randn(12, 128)
    for attention_is_fixed in (True, False):
        attention = memory.address(query)
        slots = memory.slots.detach() if not attention_is_fixed else memory.slots
        attention = attention.detach() if attention_is_fixed else attention
        part = torch.autograd.grad(((attention @ slots) * towards).sum(), memory.slots)[0]
        with torch.autocast("cpu", torch.bfloat16):
            read, _ = memory(query.view(12, 8, 4, 4))
        whole = torch.autograd.grad((read.flatten(1).float() * towards).sum(), memory.slots)[0]
        assert difference(part, whole) > 0.05


def test_scores_are_not_rounded_before_the_exponential() -> None:
    """2**-9 apart at 64: bfloat16 scores would be equal."""
    memory = Memory(2, 16, 0.0)
    memory.slots.data = torch.tensor([[8.0] * 8 + [0.0] * 8, [8.0] * 8 + [2.0**-6] + [0.0] * 7])
    with torch.autocast("cpu", torch.bfloat16):
        _, attention = memory(torch.ones(1, 1, 4, 4))
    assert (attention[0, 1] / attention[0, 0]).log().item() == pytest.approx(2.0**-6, rel=1e-2)


@pytest.mark.parametrize("of_slots", [False, True])
def test_only_gradients_that_are_asked_for(of_slots: bool) -> None:
    memory = Memory(5, 16, 0.0).requires_grad_(of_slots)
    features = torch.randn(2, 1, 4, 4, requires_grad=not of_slots)
    with torch.autocast("cpu", torch.bfloat16):
        read, _ = memory(features)
    (read.float() * torch.randn(2, 1, 4, 4)).sum().backward()
    assert (memory.slots.grad is not None) == of_slots
    assert (features.grad is not None) == (not of_slots)


def test_the_precision_of_other_products_is_left_as_it_was() -> None:
    before = SWITCH.fp32_precision
    read_memory(torch.bfloat16)
    assert SWITCH.fp32_precision == before
    with pytest.raises(RuntimeError), torch.autocast("cpu", torch.bfloat16):
        Memory(4, 18, 0.0)(torch.ones(2, 3, 4, 4))
    assert SWITCH.fp32_precision == before


@pytest.mark.parametrize(("size", "stride"), [(4, 1), (2, 1), (8, 2), (16, 1)])
def test_gradients_of_a_convolution(size: int, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, size, size, requires_grad=True)
    weight, bias = torch.randn(7, 5, 3, 3, requires_grad=True), torch.randn(7, requires_grad=True)
    inputs = (x, weight, bias)
    expected = F.conv2d(x, weight, bias, stride, 1)
    towards = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * towards).sum(), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv2d(x, weight, bias, stride, 1)
    assert found.dtype == torch.bfloat16 and difference(found, expected.detach()) < 0.01
    for near, exact in zip(
        torch.autograd.grad((found.float() * towards).sum(), inputs), gradients, strict=True
    ):
        assert near.dtype == torch.float32 and difference(near, exact) < 0.01


def test_layers_go_through_it_and_frozen_ones_do_not_need_to() -> None:
    x = torch.randn(2, 3, 4, 4)
    for layer in (Conv2d(3, 5, 3, padding=1), NormConv2d(3, 5, 3)):
        with torch.autocast("cpu", torch.bfloat16):
            assert "SmallConv" in type(layer(x).grad_fn).__name__
        assert "SmallConv" not in type(layer(x).grad_fn).__name__
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            assert layer(x).dtype == torch.bfloat16


def test_a_flow_autoencoder_stays_channels_last() -> None:
    """Or its convolutions rearrange what they read, at half the speed."""
    torch.manual_seed(0)
    model = MLMemAESC(4, 6, 0.1).train()
    layouts = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_pre_hook(lambda _, inputs: layouts.append(inputs[0]))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(3, 8, 32, 32))["flow_recon"].sum().backward()
    assert len(layouts) == 17
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in layouts)
