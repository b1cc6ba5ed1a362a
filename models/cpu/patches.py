"""Convolutions that Winograd's method does not suit, as products over patches on matrix tiles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.cpu import amx
from models.cpu.convolution import (
    NOTHING,
    Around,
    CpuConv2d,
    Prepared,
    alone,
    channels_last,
    one_by_one,
)
from models.cpu.products import pack
from models.cpu.sizes import BLOCK
from models.layers.blocks import depth_to_space


class PatchConv2d(CpuConv2d):
    """As the convolution ``conv``, for inference; equal to about 1e-5 of the values' size.

    Args:
        conv: any size and stride, zeros outside, ``padding`` half its size, channels in multiples
            of 32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        size, padding = conv.kernel_size[0], conv.padding[0]
        steps = np.arange(size) - padding
        self._offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)

    def forward(self, x: Tensor, around: Around = NOTHING) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride); see ``CpuConv2d``."""
        stride = self.conv.stride[0]
        more = around.beside is not None or around.added is not None
        more = more or around.relu or around.upscale != 1
        whole = x.shape[2] % stride == 0 and x.shape[3] % stride == 0
        if more or not whole or not alone(x) or not amx.usable():
            return one_by_one(self.conv, x, around)
        if self.prepared is None:
            weight = self.conv.weight.detach()
            self.prepared = pack(weight.permute(2, 3, 1, 0).reshape(1, -1, len(weight)))[0]
        bias = self.conv.bias.detach()
        return _convolve(x, around.elu, self.prepared, bias, self._offsets, stride)


class PatchConvTranspose2d(Prepared):
    """As ``conv``, which doubles the size, for inference; equal to about 1e-5 of the values' size.

    Each pixel makes 2 x 2, from itself and three neighbours.

    Args:
        conv: 3x3, stride 2, padding and output padding 1, inputs a multiple of 32, outputs of 8.
    """

    _OFFSETS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W)."""
        if not alone(x) or not amx.usable():
            return self.conv(x)
        if self.prepared is None:
            self.prepared = pack(self._as_patches())[0]
        bias = self.conv.bias.detach().repeat(4)
        return depth_to_space(_convolve(x, False, self.prepared, bias, self._OFFSETS, 1))

    def _as_patches(self) -> Tensor:
        weight = self.conv.weight.detach()  # (in, out, 3, 3)
        matrix = weight.new_zeros(2, 2, weight.shape[0], 2, 2, weight.shape[1])
        # Row 2i + dy of the result sees row i + oy of x through the kernel's row dy + 1 - 2 oy.
        seen = [(d, o, d + 1 - 2 * o) for d in (0, 1) for o in (0, 1) if d + 1 - 2 * o >= 0]
        for dy, oy, row in seen:
            for dx, ox, column in seen:
                matrix[oy, ox, :, dy, dx] = weight[:, :, row, column]
        return matrix.reshape(1, 4 * weight.shape[0], 4 * weight.shape[1])


def _convolve(
    x: Tensor, elu: bool, packed: np.ndarray, bias: Tensor, offsets: np.ndarray, stride: int
) -> Tensor:
    from models.cpu import patch_kernels

    batch, _, height, width = x.shape
    height, width = height // stride, width // stride
    count, num_out = batch * height * width, len(packed) * BLOCK
    y = torch.empty((-(-count // BLOCK) * BLOCK, num_out))
    patch_kernels.convolve(channels_last(x), elu, packed, bias.numpy(), offsets, stride, y.numpy())
    return y[:count].view(batch, height, width, num_out).permute(0, 3, 1, 2)
