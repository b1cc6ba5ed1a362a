"""Which layers of a finished model have a faster way on this CPU."""

from __future__ import annotations

from torch import nn

from models.cpu import amx
from models.cpu.convolution import CpuConv2d
from models.cpu.patches import PatchConv2d, PatchConvTranspose2d
from models.cpu.reading import PackedMemory
from models.cpu.sizes import BLOCK, LANES
from models.cpu.winograd import WinogradConv2d
from models.layers.memory import Memory

FEWEST_CHANNELS = 32  # in and out; products of fewer are too small to gain anything
FEWEST_SLOTS = 256  # of fewer, torch's product takes no time worth saving


def faster_conv(conv: nn.Conv2d) -> nn.Module:
    """``conv`` itself, or what computes the same faster."""
    if conv.bias is None or conv.groups != 1 or conv.dilation != (1, 1):
        return conv
    if conv.padding != tuple(size // 2 for size in conv.kernel_size):
        return conv
    if min(conv.in_channels, conv.out_channels) < FEWEST_CHANNELS or not amx.compiles():
        return conv
    if conv.kernel_size == (3, 3) and conv.stride == (1, 1) and _in_multiples_of(LANES, conv):
        return WinogradConv2d(conv)
    square = conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]
    if square and _in_multiples_of(BLOCK, conv) and amx.usable():
        return PatchConv2d(conv)
    return conv


def faster_upsampling(conv: nn.ConvTranspose2d) -> nn.Module:
    """``conv`` (see :class:`PatchConvTranspose2d`) itself, or what computes the same faster."""
    suits = conv.in_channels % BLOCK == 0 and 4 * conv.out_channels % BLOCK == 0
    return PatchConvTranspose2d(conv) if suits and amx.usable() else conv


def faster_memory(memory: Memory) -> nn.Module:
    """``memory`` itself, or what computes the same faster."""
    wide = min(memory.slots.shape) >= FEWEST_SLOTS
    return PackedMemory(memory) if wide and amx.usable() else memory


def has_faster(model: nn.Module) -> bool:
    """Whether any layer of ``model`` may compute in a way of its own."""
    kinds = (CpuConv2d, PatchConvTranspose2d, PackedMemory)
    return any(isinstance(module, kinds) for module in model.modules())


def _in_multiples_of(count: int, conv: nn.Conv2d) -> bool:
    return conv.in_channels % count == 0 and conv.out_channels % count == 0
