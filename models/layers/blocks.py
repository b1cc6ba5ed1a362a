"""Building blocks shared by the two networks of HF2-VAD (arXiv 2108.06852)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ConvFactory = Callable[..., nn.Module]  # (in_channels, out_channels, kernel_size, stride=1)


def plain_conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the spatial size (at stride 1)."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)


class NormConv2d(nn.Module):
    """Weight-normalised convolution with a learned gain and shift a channel, as VUNet has it.

    Computes ``gamma * (conv(x, length * direction / ||direction||) + conv_bias) + beta`` as one
    convolution: the gain is folded into the weight and the shift into the bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        start = plain_conv(in_channels, out_channels, kernel_size, stride)
        assert start.bias is not None
        weight = start.weight.detach()
        self.direction = nn.Parameter(weight.clone())
        self.length = nn.Parameter(torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True))
        self.conv_bias = nn.Parameter(start.bias.detach().clone())
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.stride = stride
        self.padding = start.padding[0]
        self.ready: tuple[Tensor, Tensor] | None = None  # see models.layers.folding

    def folded(self) -> tuple[Tensor, Tensor]:
        """The weight (out, in, k, k) and bias (out,) of the one convolution this layer equals."""
        if self.ready is not None:
            return self.ready
        gain = self.gamma.view_as(self.length)
        # One fused kernel, forward and backward: what torch.nn.utils.weight_norm itself calls.
        weight = torch._weight_norm(self.direction, gain * self.length, 0)
        bias = torch.addcmul(self.beta.flatten(), self.gamma.flatten(), self.conv_bias)
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (B, in, H, W) to (B, out, H / stride, W / stride)."""
        weight, bias = self.folded()
        return F.conv2d(x, weight, bias, self.stride, self.padding)


def normalise_groups(norm: nn.Module, x: Tensor, num_groups: int) -> Tensor:
    """BatchNorm of one batch that stands for several, each with statistics of its own.

    The groups, of one size, follow one another in ``x`` (num_groups * B, C, H, W), and each moves
    the running statistics. In evaluation mode these are fixed and groups make no difference.
    """
    if num_groups == 1 or not norm.training:
        return norm(x)
    groups = x.chunk(num_groups)
    if not isinstance(norm, nn.BatchNorm2d):  # SyncBatchNorm, of several GPUs
        return torch.cat([norm(group) for group in groups])
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked += num_groups
    apply = partial(
        F.batch_norm, running_mean=norm.running_mean, running_var=norm.running_var,
        weight=norm.weight, bias=norm.bias, training=True, momentum=norm.momentum, eps=norm.eps,
    )  # fmt: skip
    return torch.cat([apply(group) for group in groups])


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = plain_conv(in_channels, out_channels, 3)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = plain_conv(out_channels, out_channels, 3)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        x = F.relu(normalise_groups(self.norm1, self.conv1(x), num_groups), inplace=True)
        return F.relu(normalise_groups(self.norm2, self.conv2(x), num_groups), inplace=True)


class ResidualBlock(nn.Module):
    """Pre-activation residual block of VUNet, optionally merging a skip of the same width."""

    def __init__(self, channels: int, conv: ConvFactory, dropout: float, skip: bool):
        super().__init__()
        self.skip_conv = conv(channels, channels, 1) if skip else None
        self.conv = conv(channels * 2 if skip else channels, channels, 3)
        self.dropout = dropout

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """``x`` and ``skip`` (B, C, H, W) to (B, C, H, W)."""
        if skip is None:
            residual = F.elu(x)
        else:
            assert self.skip_conv is not None
            merged = torch.cat([x, self.skip_conv(F.elu(skip))], dim=1)
            residual = F.elu(merged, inplace=True)
        residual = F.dropout(residual, self.dropout, self.training)
        return x + self.conv(residual)


class SubpixelUp(nn.Module):
    """Double the spatial size: 3x3 convolution to four times the channels, depth to space."""

    def __init__(self, in_channels: int, out_channels: int, conv: ConvFactory):
        super().__init__()
        self.conv = conv(in_channels, 4 * out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W)."""
        return depth_to_space(self.conv(x))


def depth_to_space(x: Tensor) -> Tensor:
    """(B, 4C, H, W) to (B, C, 2H, 2W), the four sub-pixels outermost: channel = (dy, dx, c).

    PixelShuffle orders channels (c, dy, dx) instead, so it cannot stand in with published weights.
    """
    batch, channels, height, width = x.shape
    subpixels = x.view(batch, 2, 2, channels // 4, height, width)  # (B, dy, dx, C, H, W)
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = subpixels.permute(0, 4, 1, 5, 2, 3)  # (B, H, dy, W, dx, C)
        return rows.reshape(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)
    rows = subpixels.permute(0, 3, 4, 1, 5, 2)  # (B, C, H, dy, W, dx)
    return rows.reshape(batch, channels // 4, 2 * height, 2 * width)


def space_to_depth(x: Tensor) -> Tensor:
    """Inverse of :func:`depth_to_space`: (B, C, 2H, 2W) to (B, 4C, H, W)."""
    batch, channels, height, width = x.shape
    subpixels = x.view(batch, channels, height // 2, 2, width // 2, 2)  # (B, C, H, dy, W, dx)
    if x.is_contiguous(memory_format=torch.channels_last):
        pixels = subpixels.permute(0, 2, 4, 3, 5, 1)  # (B, H, W, dy, dx, C)
        pixels = pixels.reshape(batch, height // 2, width // 2, 4 * channels)
        return pixels.permute(0, 3, 1, 2)
    quarters = subpixels.permute(0, 3, 5, 1, 2, 4)  # (B, dy, dx, C, H, W)
    return quarters.reshape(batch, 4 * channels, height // 2, width // 2)
