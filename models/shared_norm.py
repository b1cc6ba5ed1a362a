"""BatchNorm over the samples of all processes: equal to one process with the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from utils import processes

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
        mean, square_sum, number = _moments(x.float())
        inverse = (square_sum / number + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse, number)
        scale = weight * inverse
        y = torch.addcmul(_wide(bias - mean * scale), x.float(), _wide(scale)).to(x.dtype)
        variance = square_sum / (number - 1).clamp_min(1)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, number = ctx.saved_tensors
        gradient, normal = gradient.float(), (x.float() - _wide(mean)) * _wide(inverse)
        own = torch.stack([gradient.sum(_DIMS), (gradient * normal).sum(_DIMS)])
        total = own.clone()
        processes.sum_in_place(total)
        shift, slope = total / number
        changed = gradient - _wide(shift) - normal * _wide(slope)
        return (changed * _wide(weight * inverse)).to(x.dtype), own[1], own[0], None


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sum of squared distances from it, and number of values, each channel, of all."""
    number = x.new_tensor(x.numel() // x.shape[1])
    mean = x.sum(_DIMS) / number.clamp_min(1)
    square_sum = (x - _wide(mean)).square().sum(_DIMS)
    # Summing means first and distances from the common mean next does not cancel digits.
    everywhere = torch.cat([mean * number, number[None]])
    processes.sum_in_place(everywhere)
    common = everywhere[:-1] / everywhere[-1]
    square_sum += number * (mean - common).square()
    processes.sum_in_place(square_sum)
    return common, square_sum, everywhere[-1]


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]
