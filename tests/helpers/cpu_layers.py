"""Layers and values that the tests of models.cpu share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.cpu import amx

needs_tiles = pytest.mark.skipif(not amx.usable(), reason="this processor has no AMX")


def conv2d(in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    torch.manual_seed(in_channels)
    conv = nn.Conv2d(in_channels, out_channels, size, stride, size // 2)
    return conv.requires_grad_(False)


def random(*shape: int, layout: torch.memory_format = torch.channels_last) -> Tensor:
    return torch.randn(*shape).contiguous(memory_format=layout)
