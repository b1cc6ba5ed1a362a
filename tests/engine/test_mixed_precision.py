"""A memory under bfloat16 autocast against float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.layers.memory import Memory


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


@pytest.mark.parametrize("of_slots", [False, True])
def test_only_gradients_that_are_asked_for(of_slots: bool) -> None:
    memory = Memory(5, 16, 0.0).requires_grad_(of_slots)
    features = torch.randn(2, 1, 4, 4, requires_grad=not of_slots)
    with torch.autocast("cpu", torch.bfloat16):
        read, _ = memory(features)
    (read.float() * torch.randn(2, 1, 4, 4)).sum().backward()
    assert (memory.slots.grad is not None) == of_slots
    assert (features.grad is not None) == (not of_slots)
