"""ML-MemAE-SC, layer by layer (HF2-VAD §3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TwoConvs(nn.Module):
    """Twice: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        return self.conv(x)


class InConv(nn.Module):
    """The first level."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = TwoConvs(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        return self.conv(x)


class Down(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        out_channels = 2 * in_channels
        self.mpconv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1),
            TwoConvs(out_channels, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2C, H/2, W/2)."""
        return self.mpconv(x)


class Up(nn.Module):
    """Twice the size, half the channels, with the encoder's features where asked for."""

    def __init__(self, in_channels: int, skip: str) -> None:
        super().__init__()
        out_channels = in_channels // 2
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 3, 2, 1, output_padding=1)
        self.skip = skip
        self.conv = TwoConvs(in_channels if skip == "concat" else out_channels, out_channels)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """``x`` (B, C, H, W), ``encoded`` (B, C/2, 2H, 2W) to (B, C/2, 2H, 2W)."""
        x = self.up(x)
        return self.conv(torch.cat([encoded, x], dim=1) if self.skip == "concat" else x)


class OutConv(nn.Module):
    """The last layer."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        return self.conv(x)


class MemoryTable(nn.Module):
    """Attention over stored rows, shrunk."""

    def __init__(self, num_slots: int, num_features: int, shrink_threshold: float) -> None:
        super().__init__()
        bound = num_features**-0.5
        self.memMatrix = nn.Parameter(torch.empty(num_slots, num_features).uniform_(-bound, bound))
        self.threshold = shrink_threshold

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to what the memory holds for it and the attention (B, slots)."""
        attention = F.softmax(x.flatten(1) @ self.memMatrix.t(), dim=1)
        if self.threshold > 0:
            beyond = attention - self.threshold
            attention = F.relu(beyond) * attention / (beyond.abs() + 1e-12)
            attention = F.normalize(attention, p=1, dim=1)
        return (attention @ self.memMatrix).view_as(x), attention


class Autoencoder(nn.Module):
    """Reconstructs one flow (B, 2, 32, 32); arguments as those of ``MLMemAESC``."""

    def __init__(
        self,
        feature_root: int,
        num_slots: int,
        shrink_threshold: float,
        mem_usage: Sequence[bool],
        skip_ops: Sequence[str],
    ) -> None:
        super().__init__()
        f = feature_root
        self.in_conv = InConv(2, f)
        self.down_1, self.down_2, self.down_3 = Down(f), Down(2 * f), Down(4 * f)
        features = {1: 2 * f * 16 * 16, 2: 4 * f * 8 * 8, 3: 8 * f * 4 * 4}
        for level, size in features.items():
            if mem_usage[level]:
                setattr(self, f"mem{level}", MemoryTable(num_slots, size, shrink_threshold))
        self.up_3, self.up_2, self.up_1 = (
            Up(8 * f, skip_ops[2]), Up(4 * f, skip_ops[1]), Up(2 * f, skip_ops[0]),
        )  # fmt: skip
        self.out_conv = OutConv(f, 2)

    def forward(self, flow: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The reconstructed flow and the attention of each memory in use."""
        attention: list[Tensor] = []
        x0 = self.in_conv(flow)
        x1 = self.down_1(x0)
        x2 = self.down_2(x1)
        x = self._remember(3, self.down_3(x2), attention)
        x = self._remember(2, self.up_3(x, x2), attention)
        x = self._remember(1, self.up_2(x, x1), attention)
        return self.out_conv(self.up_1(x, x0)), attention

    def _remember(self, level: int, x: Tensor, attention: list[Tensor]) -> Tensor:
        memory = getattr(self, f"mem{level}", None)
        if memory is None:
            return x
        x, weights = memory(x)
        attention.append(weights)
        return x
