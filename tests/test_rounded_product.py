"""The matrix product of mixed precision against the float32 one."""

from __future__ import annotations

import pytest
import torch
from models.rounded_product import product
from torch import Tensor

from models.memory import Memory

SWITCH = torch.backends.mkldnn.matmul


def factors(transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (40, 600), (70, 600) if transposed else (600, 70), (40, 70)
    a, b, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    return a.requires_grad_(), b.requires_grad_(), grad


def results(transposed: bool, rounded: bool) -> list[Tensor]:
    """Product and both gradients."""
    a, b, grad = factors(transposed)
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        found = product(a, b, transposed)
    found.backward(grad)
    return [found.detach(), a.grad, b.grad]


@pytest.mark.parametrize("transposed", [False, True])
def test_without_autocast_it_is_the_plain_product(transposed: bool) -> None:
    a, b, grad = factors(transposed)
    expected = a @ (b.T if transposed else b)
    expected.backward(grad)
    found = results(transposed, rounded=False)
    torch.testing.assert_close(found, [expected.detach(), a.grad, b.grad], rtol=0, atol=0)


@pytest.mark.parametrize("transposed", [False, True])
def test_under_autocast_result_and_gradients_are_float32_and_near(transposed: bool) -> None:
    exact = results(transposed, rounded=False)
    found = results(transposed, rounded=True)
    assert all(each.dtype == torch.float32 for each in found)
    for near, expected in zip(found, exact, strict=True):
        # Rounding to 8 bits: relative errors up to 2**-8 a factor, which partly cancel in a sum.
        assert (near - expected).norm() < 2**-7 * expected.norm()


def test_results_are_not_rounded_to_bfloat16() -> None:
    a, b = torch.tensor([[1.0, 2.0**-12]]), torch.ones(2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(a, b).item() == 1 + 2.0**-12


def test_only_gradients_that_are_asked_for() -> None:
    a, b, grad = factors(False)
    with torch.autocast("cpu", torch.bfloat16):
        product(a.detach(), b).backward(grad)
        product(a, b.detach()).backward(grad)
    assert a.grad is not None and b.grad is not None


def test_the_precision_of_other_products_is_left_as_it_was() -> None:
    before = SWITCH.fp32_precision
    results(False, rounded=True)
    assert SWITCH.fp32_precision == before
    with pytest.raises(RuntimeError), torch.autocast("cpu", torch.bfloat16):
        product(torch.ones(2, 3), torch.ones(2, 3))
    assert SWITCH.fp32_precision == before


def test_attention_of_a_memory_stays_near_that_of_float32() -> None:
    torch.manual_seed(0)
    memory = Memory(200, 1024, 0.0005)
    query = 8 * torch.randn(32, 1024)  # logits of a few units: attention is uneven
    expected = memory.address(query)
    with torch.autocast("cpu", torch.bfloat16):
        found = memory.address(query)
    assert found.dtype == torch.float32
    assert expected.max() > 0.2
    assert (found - expected).abs().sum(1).max() < 0.02
