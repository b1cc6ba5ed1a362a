"""A trained model made ready for scoring: every normalisation folded into its convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.cpu.convolution import CpuConv2d, convolve_and
from models.cpu.faster import faster_conv, faster_memory, faster_upsampling
from models.hf2vad.ml_memae_sc import UpBlock
from models.layers.blocks import DoubleConv, NormConv2d, ResidualBlock, SubpixelUp
from models.layers.memory import Memory

Model = TypeVar("Model", bound=nn.Module)


class FusedDoubleConv(nn.Module):
    """A ``DoubleConv`` whose normalisation is part of its convolutions."""

    def __init__(self, block: DoubleConv) -> None:
        super().__init__()
        self.conv1 = faster_conv(fuse_conv_bn_eval(block.conv1, block.norm1))
        self.conv2 = faster_conv(fuse_conv_bn_eval(block.conv2, block.norm2))

    def forward(self, x: Tensor, num_groups: int = 1, beside: Tensor | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, H, W); in evaluation groups make no difference."""
        h = convolve_and(self.conv1, x, beside=beside, relu=True)
        return convolve_and(self.conv2, h, relu=True)


class FusedUpBlock(nn.Module):
    """An ``UpBlock`` that does not put its two inputs into one tensor first."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        self.upsample = faster_upsampling(block.upsample)
        self.concat = block.concat
        self.block = FusedDoubleConv(block.block)

    def forward(self, x: Tensor, encoded: Tensor, num_flows: int) -> Tensor:
        """``x`` (N, C, H, W) and ``encoded`` (N, C/2, 2H, 2W) to (N, C/2, 2H, 2W)."""
        x = self.upsample(x)
        return self.block(encoded, beside=x) if self.concat else self.block(x)


class FusedResidualBlock(nn.Module):
    """A ``ResidualBlock`` whose sum is part of its convolution."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.skip_conv = None if block.skip_conv is None else faster_conv(block.skip_conv)
        self.conv = faster_conv(block.conv)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """``x`` and ``skip`` (B, C, H, W) to (B, C, H, W)."""
        beside = None if skip is None else convolve_and(self.skip_conv, skip, elu=True)
        return convolve_and(self.conv, x, elu=True, beside=beside, added=x)


class FusedSubpixelUp(nn.Module):
    """A ``SubpixelUp`` whose convolution writes to the larger image."""

    def __init__(self, layer: SubpixelUp) -> None:
        super().__init__()
        self.conv = faster_conv(layer.conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W)."""
        return convolve_and(self.conv, x, upscale=2)


@torch.no_grad()
def fuse_for_inference(model: Model) -> Model:
    """Copy ``model`` (``MLMemAESC`` or ``HF2VAD``) into an equal one with fewer operations.

    The copy is in evaluation mode and is not for training or saving: its tensors have other names.
    Outputs agree with the original's to float32 rounding.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    _replace(fused, NormConv2d, _as_plain_conv)
    _replace(fused, UpBlock, FusedUpBlock)
    _replace(fused, DoubleConv, FusedDoubleConv)
    _replace(fused, ResidualBlock, FusedResidualBlock)
    _replace(fused, SubpixelUp, FusedSubpixelUp)
    _replace(fused, Memory, faster_memory)
    _replace(fused, nn.Conv2d, faster_conv)
    # Inputs are channels-last; weights of another layout would be rearranged in each call.
    return fused.to(memory_format=torch.channels_last)


def _replace(model: nn.Module, kind: type, replacement: Callable[[Any], nn.Module]) -> None:
    modules = [module for module in model.modules() if not isinstance(module, CpuConv2d)]
    for module in modules:
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, replacement(child))


def _as_plain_conv(layer: NormConv2d) -> nn.Conv2d:
    weight, bias = layer.folded()
    out_channels, in_channels, *kernel_size = weight.shape
    # Without initial values: drawing them would move the generator that a resumed run goes on with.
    conv = nn.utils.skip_init(
        nn.Conv2d, in_channels, out_channels, kernel_size, layer.stride, layer.padding
    )
    conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return conv.eval()
