"""ML-MemAE-SC: multi-level memory autoencoder with skip connections (HF2-VAD §3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.blocks import DoubleConv, layout_of, plain_conv
from models.layers.memory import Memory

FLOW_CHANNELS = 2
PATCH_SIZE = 32


class DownBlock(nn.Module):
    """Halve the spatial size, double the channels."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.down = plain_conv(in_channels, 2 * in_channels, 3, stride=2)
        self.block = DoubleConv(2 * in_channels, 2 * in_channels)

    def forward(self, x: Tensor, num_flows: int) -> Tensor:
        """(N, C, H, W) to (N, 2C, H/2, W/2)."""
        return self.block(self.down(x), num_flows)


class UpBlock(nn.Module):
    """Double the spatial size, halve the channels, optionally merge the encoder's features."""

    def __init__(self, in_channels: int, skip: str):
        super().__init__()
        out_channels = in_channels // 2
        self.upsample = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride=2, padding=1, output_padding=1
        )
        self.concat = skip == "concat"
        self.block = DoubleConv(out_channels * (2 if self.concat else 1), out_channels)

    def forward(self, x: Tensor, encoded: Tensor, num_flows: int) -> Tensor:
        """``x`` (N, C, H, W) and ``encoded`` (N, C/2, 2H, 2W) to (N, C/2, 2H, 2W)."""
        # The bias by itself: with it a CPU takes three times as long for the layer's gradients.
        weight, bias = self.upsample.weight, self.upsample.bias
        assert bias is not None
        x = F.conv_transpose2d(x, weight, None, stride=2, padding=1, output_padding=1)
        x = x + bias.view(-1, 1, 1).to(x.dtype)
        return self.block(torch.cat([encoded, x], dim=1) if self.concat else x, num_flows)


class MLMemAESC(nn.Module):
    """Reconstructs a flow patch from what normal flow looks like.

    Args:
        feature_root: channels f at full size; they double at each of three halvings.
        num_slots: rows of each memory.
        shrink_threshold: see :class:`models.layers.memory.Memory`.
        mem_usage: four switches, one a level from full size (which has no memory: must be False)
            to 4x4.
        skip_ops: ``"none"`` or ``"concat"`` for the skips at 32x32, 16x16 and 8x8.

    Raises:
        ValueError: ``mem_usage`` or ``skip_ops`` is not of that form.
    """

    def __init__(
        self,
        feature_root: int = 32,
        num_slots: int = 2000,
        shrink_threshold: float = 0.0005,
        mem_usage: Sequence[bool] = (False, True, True, True),
        skip_ops: Sequence[str] = ("none", "concat", "concat"),
    ):
        super().__init__()
        _check_switches(mem_usage, skip_ops)
        f = feature_root
        self.in_block = DoubleConv(FLOW_CHANNELS, f)
        self.down1, self.down2, self.down3 = (DownBlock(f * 2**k) for k in range(3))

        def memory(level: int) -> Memory | None:
            size = PATCH_SIZE // 2**level
            num_features = f * 2**level * size * size
            return Memory(num_slots, num_features, shrink_threshold) if mem_usage[level] else None

        self.memory3, self.memory2, self.memory1 = memory(3), memory(2), memory(1)
        self.up3 = UpBlock(8 * f, skip_ops[2])
        self.up2 = UpBlock(4 * f, skip_ops[1])
        self.up1 = UpBlock(2 * f, skip_ops[0])
        self.out_conv = plain_conv(f, FLOW_CHANNELS, 1)
        self.apply(_initialise)

    def forward(self, flow: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Reconstruct flow patches.

        Args:
            flow: (B, 2K, 32, 32), K flows (u, v) per sample, pixels. Each one is reconstructed by
                itself, and BatchNorm in training sees K separate batches, as published.

        Returns:
            ``flow_recon`` like ``flow`` (memory layout, too), float32, and ``attention``, a list of
            (K * B, num_slots) float32 for the memories in use, from the smallest level up.
        """
        num_flows = flow.shape[1] // FLOW_CHANNELS
        flows = flow.unflatten(1, (num_flows, FLOW_CHANNELS)).transpose(0, 1)  # (K, B, 2, 32, 32)
        layout = layout_of(flow)
        x = flows.reshape(-1, *flows.shape[2:])  # (N, 2, 32, 32), N = K * B
        x = x.contiguous(memory_format=layout)
        x0, x1, x2, x3 = self.encode(x, num_flows)
        attention: list[Tensor] = []
        x = self._read(self.memory3, x3, attention)  # (N, 8f, 4, 4)
        x = self._read(self.memory2, self.up3(x, x2, num_flows), attention)  # (N, 4f, 8, 8)
        x = self._read(self.memory1, self.up2(x, x1, num_flows), attention)  # (N, 2f, 16, 16)
        x = self.out_conv(self.up1(x, x0, num_flows))  # (N, 2, 32, 32)
        flow_recon = x.float().view(flows.shape).transpose(0, 1).reshape(flow.shape)
        return {"flow_recon": flow_recon.contiguous(memory_format=layout), "attention": attention}

    def encode(self, x: Tensor, num_flows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (N, f, 32, 32), (N, 2f, 16, 16), (N, 4f, 8, 8) and (N, 8f, 4, 4)."""
        x0 = self.in_block(x, num_flows)
        x1 = self.down1(x0, num_flows)
        x2 = self.down2(x1, num_flows)
        return x0, x1, x2, self.down3(x2, num_flows)

    @staticmethod
    def _read(memory: Memory | None, features: Tensor, attention: list[Tensor]) -> Tensor:
        if memory is None:
            return features
        read, weights = memory(features)
        attention.append(weights)
        return read


def _initialise(module: nn.Module) -> None:
    """The published start; transposed convolutions and convolution biases keep torch's own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0.1, mode="fan_in")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _check_switches(mem_usage: Sequence[bool], skip_ops: Sequence[str]) -> None:
    if len(mem_usage) != 4 or mem_usage[0]:
        raise ValueError(
            f"mem_usage is {list(mem_usage)}: give four switches, the first False "
            "(there is no memory at full size)"
        )
    if len(skip_ops) != 3 or not set(skip_ops) <= {"none", "concat"}:
        raise ValueError(f"skip_ops is {list(skip_ops)}: give three of 'none' and 'concat'")
