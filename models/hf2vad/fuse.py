"""A trained model made ready for scoring: every normalisation folded into its convolution."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.layers.blocks import DoubleConv, NormConv2d

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def fuse_for_inference(model: Model) -> Model:
    """Copy ``model`` (``MLMemAESC`` or ``HF2VAD``) into an equal one with fewer operations.

    The copy is in evaluation mode and is not for training or saving: its tensors have other names.
    Outputs agree with the original's to float32 rounding.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(fused.modules()):
        if isinstance(module, DoubleConv):
            module.conv1 = fuse_conv_bn_eval(module.conv1, module.norm1)
            module.conv2 = fuse_conv_bn_eval(module.conv2, module.norm2)
            module.add_module("norm1", nn.Identity())
            module.add_module("norm2", nn.Identity())
        for name, child in list(module.named_children()):
            if isinstance(child, NormConv2d):
                setattr(module, name, _as_plain_conv(child))
    # Inputs are channels-last; weights of another layout would be rearranged in each call.
    return fused.to(memory_format=torch.channels_last)


def _as_plain_conv(layer: NormConv2d) -> nn.Conv2d:
    weight, bias = layer.folded()
    out_channels, in_channels, *kernel_size = weight.shape
    # Without initial values: drawing them would move the generator that a resumed run goes on with.
    conv = nn.utils.skip_init(
        nn.Conv2d, in_channels, out_channels, kernel_size, layer.stride, layer.padding
    )
    conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return conv.eval()
