"""A trained model made ready for scoring: every normalisation folded into its convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.blocks import DoubleConv, NormConv2d, ResidualBlock, SubpixelUp
from models.winograd import convolve_and, with_winograd

Model = TypeVar("Model", bound=nn.Module)


class FusedDoubleConv(nn.Module):
    """A ``DoubleConv`` whose normalisation is part of its convolutions."""

    def __init__(self, block: DoubleConv) -> None:
        super().__init__()
        self.conv1 = with_winograd(fuse_conv_bn_eval(block.conv1, block.norm1))
        self.conv2 = with_winograd(fuse_conv_bn_eval(block.conv2, block.norm2))

    def forward(self, x: Tensor, num_groups: int = 1) -> Tensor:
        """(B, in, H, W) to (B, out, H, W); in evaluation groups make no difference."""
        return convolve_and(self.conv2, convolve_and(self.conv1, x, relu=True), relu=True)


class FusedResidualBlock(nn.Module):
    """A ``ResidualBlock`` whose sum is part of its convolution."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.skip_conv = block.skip_conv
        self.conv = with_winograd(block.conv)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """``x`` and ``skip`` (B, C, H, W) to (B, C, H, W)."""
        merged = x
        if skip is not None:
            merged = torch.cat([x, self.skip_conv(F.elu(skip))], dim=1)
        return convolve_and(self.conv, merged, elu=True, added=x)


@torch.no_grad()
def fuse_for_inference(model: Model) -> Model:
    """Copy ``model`` (``MLMemAESC`` or ``HF2VAD``) into an equal one with fewer operations.

    The copy is in evaluation mode and is not for training or saving: its tensors have other names.
    Outputs agree with the original's to float32 rounding.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    _replace(fused, NormConv2d, _as_plain_conv)
    _replace(fused, DoubleConv, FusedDoubleConv)
    _replace(fused, ResidualBlock, FusedResidualBlock)
    _replace(fused, SubpixelUp, _with_winograd_inside)
    # Inputs are channels-last; weights of another layout would be rearranged in each call.
    return fused.to(memory_format=torch.channels_last)


def _replace(model: nn.Module, kind: type, replacement: Callable[[Any], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, replacement(child))


def _with_winograd_inside(layer: SubpixelUp) -> SubpixelUp:
    layer.conv = with_winograd(layer.conv)
    return layer


def _as_plain_conv(layer: NormConv2d) -> nn.Conv2d:
    weight, bias = layer.folded()
    out_channels, in_channels, *kernel_size = weight.shape
    # Without initial values: drawing them would move the generator that a resumed run goes on with.
    conv = nn.utils.skip_init(
        nn.Conv2d, in_channels, out_channels, kernel_size, layer.stride, layer.padding
    )
    conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return conv.eval()
