"""The CVAE, layer by layer (HF2-VAD §3.2), with weight-normalised convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightNormConv(nn.Module):
    """A convolution whose weight is a direction times a length."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        start = nn.Conv2d(in_channels, out_channels, kernel)
        self.weight_v = nn.Parameter(start.weight.detach())
        norm = torch.linalg.vector_norm(self.weight_v.detach(), dim=(1, 2, 3), keepdim=True)
        self.weight_g, self.bias = nn.Parameter(norm), nn.Parameter(start.bias.detach())
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride)."""
        norm = torch.linalg.vector_norm(self.weight_v, dim=(1, 2, 3), keepdim=True)
        weight = self.weight_v * (self.weight_g / norm)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class NormConv(nn.Module):
    """Weight-normalised convolution, then a gain and a shift a channel."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = WeightNormConv(in_channels, out_channels, kernel, stride)
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride)."""
        return self.gamma * self.conv(x) + self.beta


class Block(nn.Module):
    """Residual block; with ``merge`` it takes other features beside its input."""

    def __init__(self, channels: int, dropout: float, merge: bool) -> None:
        super().__init__()
        if merge:
            self.pre = NormConv(channels, channels, 1)
        self.conv2d = NormConv(channels * (2 if merge else 1), channels, 3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        h = x if other is None else torch.cat([x, self.pre(F.elu(other))], dim=1)
        return x + self.conv2d(self.dropout(F.elu(h)))


class Down(nn.Module):
    """Half the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = NormConv(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H/2, W/2)."""
        return self.down(x)


class Up(nn.Module):
    """Twice the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = NormConv(in_channels, 4 * out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W)."""
        return to_space(self.up(x))


def to_space(x: Tensor) -> Tensor:
    """(B, (dy, dx, c), H, W) to (B, c, 2H, 2W)."""
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // 4, 2 * height, 2 * width)


def to_depth(x: Tensor) -> Tensor:
    """Inverse of ``to_space``."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, 4 * channels, height // 2, width // 2)


class Encoder(nn.Module):
    """Features ``s1_1`` ... ``s4_2``."""

    def __init__(self, in_channels: int, start: int, most: int, dropout: float) -> None:
        super().__init__()
        sizes = {1: start, 2: most, 3: most, 4: most}
        self.in_op = NormConv(in_channels, start, 1)
        self.downs = nn.ModuleDict({f"s{i}": Down(sizes[i - 1], sizes[i]) for i in (2, 3, 4)})
        self.blocks = nn.ModuleDict(
            {f"s{i}_{k}": Block(sizes[i], dropout, merge=False) for i in sizes for k in (1, 2)}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """All features of (B, in, 32, 32)."""
        features = {}
        x = self.in_op(x)
        for i in (1, 2, 3, 4):
            x = x if i == 1 else self.downs[f"s{i}"](x)
            for k in (1, 2):
                x = features[f"s{i}_{k}"] = self.blocks[f"s{i}_{k}"](x)
        return features


class Posterior(nn.Module):
    """Means and samples of q at 4x4 and 8x8."""

    def __init__(self, nf: int, dropout: float) -> None:
        super().__init__()
        self.conv1x1 = NormConv(nf, nf, 1)
        self.channel_norm = NormConv(2 * nf, nf, 1)
        self.blocks = nn.ModuleList(Block(nf, dropout, merge=True) for _ in range(3))
        self.up = Up(nf, nf)

    def forward(
        self, features: dict[str, Tensor], sample: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means and latents."""
        mean4 = self.blocks[0](self.conv1x1(features["s4_2"]), features["s4_2"])
        z4 = mean4 + torch.randn_like(mean4) if sample else mean4
        h = self.blocks[1](mean4, self.channel_norm(torch.cat([features["s4_1"], z4], dim=1)))
        mean8 = self.blocks[2](self.up(h), features["s3_2"])
        z8 = mean8 + torch.randn_like(mean8) if sample else mean8
        return [mean4, mean8], [z4, z8]


class Bottleneck(nn.Module):
    """Flow features and latents to the decoder's start, and the prior's means."""

    def __init__(self, nf: int, dropout: float) -> None:
        super().__init__()
        names = ("s4_2", "s4_1", "s3_2", "s3_1")
        self.conv1x1 = NormConv(nf, nf, 1)
        self.up = Up(nf, nf)
        self.blocks = nn.ModuleDict({name: Block(nf, dropout, merge=True) for name in names})
        self.channel_norm = nn.ModuleDict({name: NormConv(2 * nf, nf, 1) for name in ("s4", "s3")})
        self.auto_blocks = nn.ModuleList(Block(nf, dropout, merge=k > 0) for k in range(4))
        self.param_converter = NormConv(4 * nf, nf, 1)

    def forward(
        self, flow: dict[str, Tensor], latents: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Features at 8x8 and two prior means."""
        h, means = self.conv1x1(flow["s4_2"]), []
        for name, z in zip(("s4", "s3"), latents, strict=True):
            h = self.blocks[f"{name}_2"](h, flow[f"{name}_2"])
            means.append(self._prior(h, z))
            skip = self.channel_norm[name](torch.cat([flow[f"{name}_1"], z], dim=1))
            h = self.blocks[f"{name}_1"](h, skip)
            h = self.up(h) if name == "s4" else h
        return h, means

    def _prior(self, h: Tensor, z: Tensor) -> Tensor:
        known = to_depth(z).chunk(4, dim=1)
        parts = [self.param_converter(to_depth(self.auto_blocks[0](h)))]
        for k in (1, 2, 3):
            parts.append(self.auto_blocks[k](parts[-1], known[k - 1]))
        return to_space(torch.cat(parts, dim=1))


class Decoder(nn.Module):
    """From 8x8 to the frame."""

    def __init__(self, start: int, most: int, dropout: float) -> None:
        super().__init__()
        self.ups = nn.ModuleDict({"s3": Up(most, most), "s2": Up(most, start)})
        sizes = {"s2_2": most, "s2_1": most, "s1_2": start, "s1_1": start}
        self.blocks = nn.ModuleDict({k: Block(n, dropout, merge=True) for k, n in sizes.items()})
        self.final_layer = NormConv(start, 3, 1)

    def forward(self, h: Tensor, features: dict[str, Tensor]) -> Tensor:
        """The frame (B, 3, 32, 32)."""
        for up, names in (("s3", ("s2_2", "s2_1")), ("s2", ("s1_2", "s1_1"))):
            h = self.ups[up](h)
            for name in names:
                h = self.blocks[name](h, features[name])
        return torch.sigmoid(self.final_layer(h))


class FramePredictor(nn.Module):
    """Four frames and four reconstructed flows to the next frame."""

    def __init__(self, nf_max: int, nf_start: int, dropout: float) -> None:
        super().__init__()
        self.f_phi = Encoder(20, nf_start, nf_max, dropout)
        self.e_theta = Encoder(8, nf_start, nf_max, dropout)
        self.zc = Posterior(nf_max, dropout)
        self.bottleneck = Bottleneck(nf_max, dropout)
        self.decoder = Decoder(nf_start, nf_max, dropout)

    def forward(
        self, history: Tensor, flows: Tensor, sample: bool
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Predicted frame, posterior means, prior means."""
        features = self.f_phi(torch.cat([history, flows], dim=1))
        q_means, latents = self.zc(features, sample)
        h, p_means = self.bottleneck(self.e_theta(flows), latents)
        return self.decoder(h, features), q_means, p_means
