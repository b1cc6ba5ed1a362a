"""BatchNorm and ReLU in one operation, for training in bfloat16 on a CPU.

By themselves they read and write each value thirteen times forward and backward, together eight
times, and ask for values before they need them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from models.cpu import amx
from models.cpu.sizes import LANES


def suits(x: Tensor) -> bool:
    """Whether ``x`` (N, C, H, W) is what :class:`NormRelu` takes."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.shape[1] % LANES == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and amx.compiles()
    )


class NormRelu(torch.autograd.Function):
    """ReLU of BatchNorm by a batch's own statistics, a group of it at a time."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise ``x`` (num_groups * B, C, H, W) bfloat16, channels last; see :func:`suits`.

        Returns:
            Like ``x``; and, without gradient, mean and unbiased variance (num_groups, C) float32.
        """
        from models.cpu import norm_kernels

        rows, parts = _rows(x, num_groups), _parts(num_groups)
        mean, variance = _moments(x, rows, parts)
        inverse = 1 / np.sqrt(variance + eps)
        scale = weight.detach().double().numpy() * inverse
        shift = bias.detach().double().numpy() - mean * scale
        scale, shift = scale.astype(np.float32), shift.astype(np.float32)
        y = torch.empty_like(x)
        norm_kernels.rectified(rows, scale, shift, _rows(y, num_groups), parts)
        ctx.save_for_backward(x)
        ctx.of_channels = mean, inverse, scale, shift
        count = rows.shape[1]
        statistics = [torch.from_numpy(each).float() for each in (mean, variance)]
        statistics[1] *= count / max(count - 1, 1)
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    def backward(
        ctx: FunctionCtx, grad: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of x (bfloat16), weight and bias."""
        from models.cpu import norm_kernels

        (x,) = ctx.saved_tensors
        mean, inverse, scale, shift = ctx.of_channels
        num_groups = len(mean)
        grad = grad.contiguous(memory_format=torch.channels_last)
        rows, grads, parts = _rows(x, num_groups), _rows(grad, num_groups), _parts(num_groups)
        sums = np.zeros((num_groups * parts, 2, x.shape[1]))
        norm_kernels.add_gradients(rows, grads, scale, shift, parts, sums)
        sums = sums.reshape(num_groups, parts, 2, -1).sum(1)
        grad_bias = sums[:, 0]
        grad_weight = (sums[:, 1] - mean * sums[:, 0]) * inverse
        # scale * (g - mean of g - normalised x * mean of g times normalised x)
        of_x = -scale * grad_weight * inverse / rows.shape[1]
        constant = -scale * grad_bias / rows.shape[1] - of_x * mean
        grad_x = torch.empty_like(x)
        factors = [each.astype(np.float32) for each in (of_x, constant)]
        norm_kernels.gradient(
            rows, grads, scale, shift, scale, *factors, _rows(grad_x, num_groups), parts
        )
        grad_weight, grad_bias = (
            torch.from_numpy(each.sum(0)).float() for each in (grad_weight, grad_bias)
        )
        return grad_x, grad_weight, grad_bias, None, None


def _moments(x: Tensor, rows: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, each (groups, C) float64."""
    from models.cpu import norm_kernels

    num_groups = len(rows)
    # About a value of each group's own, so that no digits are lost where a mean is large.
    about = x.detach()[:: len(x) // num_groups, :, 0, 0].float().numpy()
    sums = np.zeros((num_groups * parts, 2, x.shape[1]))
    norm_kernels.add_moments(rows, np.ascontiguousarray(about), parts, sums)
    total = sums.reshape(num_groups, parts, 2, -1).sum(1) / rows.shape[1]
    return total[:, 0] + about, total[:, 1] - total[:, 0] ** 2


def _rows(x: Tensor, num_groups: int) -> np.ndarray:
    """(num_groups * B, C, H, W) channels last as (num_groups, B * H * W, C) int16."""
    bits = x.detach().permute(0, 2, 3, 1).view(torch.int16)
    return bits.reshape(num_groups, -1, x.shape[1]).numpy()


def _parts(num_groups: int) -> int:
    return max(1, torch.get_num_threads() // num_groups)
