"""Reading a memory in mixed precision: most of its products in bfloat16, its softmax in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

Weigh = Callable[[Tensor], Tensor]  # scores (B, slots) to attention (B, slots)


class MixedAttention(torch.autograd.Function):
    """Score a query against all slots, weigh, read: one operation for bfloat16 autocast.

    Scores and the gradient of the attention stay float32, only the factors of their products are
    rounded (to bfloat16, on a GPU to TF32): an exponential, and differences of near values, follow.
    What becomes features or weights again is bfloat16, as the convolutions beside it are. Both
    uses of the slots share one product for their gradient.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, slots: Tensor, weigh: Weigh) -> tuple[Tensor, ...]:
        """``query`` (B, C), ``slots`` (S, C) float32 to read (B, C) bfloat16, attention (B, S)."""
        scores = _rounded_product(query, slots.T)
        attention = weigh(scores)
        rounded_slots = slots.bfloat16()
        ctx.save_for_backward(query, slots, rounded_slots, scores, attention)
        ctx.weigh = weigh
        return attention.bfloat16() @ rounded_slots, attention

    @staticmethod
    def backward(
        ctx: FunctionCtx, grad_read: Tensor, grad_attention: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of query and slots, float32 of bfloat16 precision."""
        query, slots, rounded_slots, scores, attention = ctx.saved_tensors
        grad_attention = grad_attention + _rounded_product(grad_read.float(), slots.T)
        grad_scores = _gradient_through(ctx.weigh, scores, grad_attention)
        grad_query = grad_slots = None
        if ctx.needs_input_grad[0]:
            grad_query = (grad_scores.bfloat16() @ rounded_slots).float()
        if ctx.needs_input_grad[1]:
            weights = torch.cat([grad_scores.T, attention.T], dim=1).bfloat16()  # (S, 2B)
            grad_slots = (weights @ torch.cat([query.bfloat16(), grad_read])).float()
        return grad_query, grad_slots, None


def _gradient_through(weigh: Weigh, scores: Tensor, grad_attention: Tensor) -> Tensor:
    with torch.enable_grad():
        scores = scores.detach().requires_grad_()
        return torch.autograd.grad(weigh(scores), scores, grad_attention)[0]


def _rounded_product(a: Tensor, b: Tensor) -> Tensor:
    with _rounded_factors(a.device):
        return a @ b


@contextmanager
def _rounded_factors(device: torch.device) -> Iterator[None]:
    """Float32 products round their factors, not their sums and results."""
    on_gpu = device.type == "cuda"
    switch = torch.backends.cuda.matmul if on_gpu else torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    switch.fp32_precision = "tf32" if on_gpu else "bf16"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        switch.fp32_precision = before
