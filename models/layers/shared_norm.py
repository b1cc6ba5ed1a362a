"""BatchNorm over the samples of all processes: equal to one process with the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from utils import distributed

_DIMS = (0, 2, 3)


def batch_norm_together(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by mean and variance over the samples of all processes (collective).

    ``torch.nn.SyncBatchNorm`` does the same on GPUs only.

    Args:
        x: (n, C, H, W), n may differ from process to process and be 0.
        weight, bias: (C,).

    Returns:
        Like ``x``; and, without gradient, mean and unbiased variance (C,) float32.
    """
    return _BatchNormTogether.apply(x, weight, bias, eps)


class _BatchNormTogether(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, square_sum, number = _moments(x)
        variance = square_sum / number
        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), number)
        unbiased = square_sum / (number - 1).clamp_min(1)
        ctx.mark_non_differentiable(mean, unbiased)
        return y, mean, unbiased

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, number = ctx.saved_tensors
        own = _sums(gradient, x, mean, inverse)
        total = own.clone()
        distributed.sum_in_place(total)
        shift, slope = total / number
        # weight * inverse * (gradient - shift - (x - mean) * inverse * slope), in two passes
        scale = weight * inverse
        factor = -scale * inverse * slope
        result = torch.addcmul(_wide(-scale * shift - factor * mean), x, _wide(factor))
        return result.addcmul_(gradient, _wide(scale)).to(x.dtype), own[1], own[0], None


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sum of squared distances from it, and number of values, each channel, of all."""
    number = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
    mean = x.sum(_DIMS, dtype=torch.float32) / number.clamp_min(1)
    square_sum = _sums(x, x, mean, torch.ones_like(mean))[1]  # x * (x - mean) sums to it
    # Distances from each process's own mean, moved to the common one: no digits cancel.
    everywhere = distributed.stack(torch.cat([number, mean, square_sum]))
    numbers, means, square_sums = everywhere.split([1, len(mean), len(mean)], dim=1)
    total = numbers.sum()
    common = (numbers * means).sum(0) / total
    return common, (square_sums + numbers * (means - common).square()).sum(0), total


def _sums(a: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Of this process: sums of ``a`` and of ``a * (x - mean) * inverse``, (2, C) float32."""
    if not len(x):
        return torch.zeros(2, len(mean), device=mean.device)
    # What BatchNorm's own backward pass sums, in one fused pass over both.
    _, product, plain = torch.ops.aten.native_batch_norm_backward(
        a, x, inverse, None, None, mean, inverse, True, 0.0, [False, True, True]
    )
    return torch.stack([plain, product]).float()


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]
