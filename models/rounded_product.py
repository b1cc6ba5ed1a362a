"""A matrix product for mixed precision that keeps its result, and its gradients, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def product(a: Tensor, b: Tensor, transposed: bool = False) -> Tensor:
    """``a`` (M, K) times ``b`` (K, N), float32, to (M, N) float32; ``b`` is (N, K) if transposed.

    Where bfloat16 autocast is on, the factors are rounded inside the product and its gradients: to
    bfloat16 on a CPU that can multiply it, to TF32 on a GPU. Sums stay float32. Autocast itself
    would round the result, too, which is more than an exponential after it can bear.
    """
    if not torch.is_autocast_enabled(a.device.type):
        return a @ (b.T if transposed else b)
    return _RoundedProduct.apply(a, b, transposed)


class _RoundedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, b: Tensor, transposed: bool) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.transposed = transposed
        with _rounded_factors(a.device):
            return a @ (b.T if transposed else b)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        grad_a = grad_b = None
        # Set again: this runs after the forward pass has put the switch back.
        with _rounded_factors(grad.device):
            if ctx.needs_input_grad[0]:
                grad_a = grad @ (b if ctx.transposed else b.T)
            if ctx.needs_input_grad[1]:  # rows in memory as in b, so that adding up is fast
                grad_b = grad.T @ a if ctx.transposed else a.T @ grad
        return grad_a, grad_b, None


@contextmanager
def _rounded_factors(device: torch.device) -> Iterator[None]:
    on_gpu = device.type == "cuda"
    switch = torch.backends.cuda.matmul if on_gpu else torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    switch.fp32_precision = "tf32" if on_gpu else "bf16"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        switch.fp32_precision = before
