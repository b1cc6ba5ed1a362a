"""Building blocks shared by the two networks of HF2-VAD (arXiv 2108.06852)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.cpu import norm_relu
from models.layers.convolution import Conv2d, conv2d
from models.layers.shared_norm import batch_norm_together
from utils import distributed

ConvFactory = Callable[..., nn.Module]  # (in_channels, out_channels, kernel_size, stride=1)


def plain_conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the spatial size (at stride 1)."""
    return Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)


class NormConv2d(nn.Module):
    """Weight-normalised convolution with a learned gain and shift a channel, as VUNet has it.

    Computes ``gamma * (conv(x, length * direction / ||direction||) + conv_bias) + beta`` as one
    convolution: the gain is folded into the weight and the shift into the bias.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        start = plain_conv(in_channels, out_channels, kernel_size, stride)
        weight = start.weight.detach()
        self.direction = nn.Parameter(weight.clone())
        self.length = nn.Parameter(torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True))
        self.conv_bias = nn.Parameter(start.bias.detach().clone())
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.stride = stride
        self.padding = start.padding[0]

    def folded(self) -> tuple[Tensor, Tensor]:
        """The weight (out, in, k, k) and bias (out,) of the one convolution this layer equals."""
        gain = self.gamma.view_as(self.length)
        # One fused kernel, forward and backward: what torch.nn.utils.weight_norm itself calls.
        weight = torch._weight_norm(self.direction, gain * self.length, 0)
        bias = torch.addcmul(self.beta.flatten(), self.gamma.flatten(), self.conv_bias)
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (B, in, H, W) to (B, out, H / stride, W / stride)."""
        weight, bias = self.folded()
        return conv2d(x, weight, bias, self.stride, self.padding)


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that can treat one batch as several: each group has statistics of its own.

    Groups are of one size and follow one another. Results, gradients and running statistics are
    those of running them one after the other. Several processes share the statistics of all their
    samples.
    """

    def forward(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """Normalise ``x`` (num_groups * B, C, H, W)."""
        together = distributed.count() > 1
        if not self.training or (num_groups == 1 and not together):
            return super().forward(x)
        if together:
            return self._normalise_together(x, num_groups)
        results, means, variances = zip(*map(self._normalise, x.chunk(num_groups)), strict=True)
        self._track(torch.stack(means), torch.stack(variances))
        return torch.cat(results)

    def then_relu(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """ReLU of :meth:`forward`'s result; ``x`` is not needed any more."""
        if not self.training or distributed.count() > 1 or not norm_relu.suits(x):
            return F.relu(self(x, num_groups), inplace=True)
        arguments = self.weight, self.bias, num_groups, self.eps
        result, means, variances = norm_relu.NormRelu.apply(x, *arguments)
        self._track(means, variances)
        return result

    def _normalise(self, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        # Momentum 1 leaves the batch's own statistics in the buffers.
        result = F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        return result, mean, variance

    def _normalise_together(self, x: Tensor, num_groups: int) -> Tensor:
        # Group g's channel c becomes channel (g, c), so that processes talk once, not once a group.
        grouped = x.unflatten(0, (num_groups, -1)).transpose(0, 1).flatten(1, 2)
        weight, bias = self.weight.repeat(num_groups), self.bias.repeat(num_groups)
        result, means, variances = batch_norm_together(grouped, weight, bias, self.eps)
        self._track(means.view(num_groups, -1), variances.view(num_groups, -1))
        return result.unflatten(1, (num_groups, -1)).transpose(0, 1).flatten(0, 1)

    def _track(self, means: Tensor, variances: Tensor) -> None:
        for mean, variance in zip(means, variances, strict=True):
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += len(means)


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = plain_conv(in_channels, out_channels, 3)
        self.norm1 = GroupedBatchNorm2d(out_channels)
        self.conv2 = plain_conv(out_channels, out_channels, 3)
        self.norm2 = GroupedBatchNorm2d(out_channels)

    def forward(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        x = self.norm1.then_relu(self.conv1(x), num_groups)
        return self.norm2.then_relu(self.conv2(x), num_groups)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout as torch's, about four times as fast on a CPU.

    Torch draws a double a value there. This draws 16 bits, so the probability is rounded to a
    multiple of 2**-16, from a generator that torch's own generator seeds.
    """
    if not training or probability == 0 or x.device.type != "cpu":
        return F.dropout(x, probability, training)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.SFC64(seed).random_raw(-(-x.numel() // 4))
    noise = torch.from_numpy(words.view(np.int16)[: x.numel()])
    kept = torch.empty_like(x)
    in_memory_order = kept.as_strided((x.numel(),), (1,))
    torch.ge(noise, round(probability * 2**16) - 2**15, out=in_memory_order)
    return x * kept.mul_(1 / (1 - probability))


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
            merged = torch.cat([x, self.skip_conv(F.elu(skip))], dim=1)
            residual = F.elu(merged, inplace=True)
        residual = dropout(residual, self.dropout, self.training)
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
    quarters = [x[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return torch.cat(quarters, dim=1)
