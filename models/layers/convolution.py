"""Convolutions whose weight gradient is a matrix product where that is the faster way."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

KERNEL = 3
LARGEST_UNFOLDED = 4  # height and width of the result, up to which unfolding pays


class Conv2d(nn.Conv2d):
    """As torch's, through :func:`conv2d`."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return conv2d(x, weight, bias, self.stride[0], self.padding[0])


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """``F.conv2d``; in bfloat16 training on a CPU, small results have a gradient of their own.

    The library's bfloat16 weight gradient is three times as slow at 4x4 as the same product over
    unfolded patches, and as fast at 8x8.
    """
    in_bfloat16 = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    small = max(x.shape[2:]) <= LARGEST_UNFOLDED * stride and weight.shape[2:] == (KERNEL, KERNEL)
    if in_bfloat16 and small and x.device.type == "cpu" and bias is not None:
        return _SmallConv.apply(x.bfloat16(), weight, bias, stride)
    return F.conv2d(x, weight, bias, stride, padding)


class _SmallConv(torch.autograd.Function):
    """3x3, padded by one."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        weight = weight.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, bias.bfloat16(), stride, padding=KERNEL // 2)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.nn.grad.conv2d_input(x.shape, weight, grad, ctx.stride, KERNEL // 2)
        grad_weight = _weight_gradient(x, grad, ctx.stride)
        return grad_x, grad_weight.float(), grad.sum((0, 2, 3), dtype=torch.float32), None


def _weight_gradient(x: Tensor, grad: Tensor, stride: int) -> Tensor:
    """(out, in, 3, 3) of input (B, in, H, W) and the result's gradient (B, out, h, w)."""
    in_channels, (out_channels, height, width) = x.shape[1], grad.shape[1:]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, in)
    batch, row, column, _ = padded.stride()
    # A view in which each place of the result has the three rows of three pixels below it.
    patches = padded.as_strided(
        (len(x), height, width, KERNEL, KERNEL * in_channels),
        (batch, stride * row, stride * column, row, 1),
    ).reshape(-1, KERNEL * KERNEL * in_channels)
    product = grad.permute(0, 2, 3, 1).reshape(-1, out_channels).T @ patches
    return product.view(out_channels, KERNEL, KERNEL, in_channels).permute(0, 3, 1, 2)
