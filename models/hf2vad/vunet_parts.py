"""The four parts of the frame predictor: encoders, posterior, bottleneck with prior, decoder.

Stages are numbered by size: 1 is 32x32, 2 is 16x16, 3 is 8x8, 4 is 4x4. Every stage has two
residual blocks; an encoder hands out both results of each, and later parts read them back as skips
in the opposite order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.blocks import (
    ConvFactory,
    ResidualBlock,
    SubpixelUp,
    depth_to_space,
    space_to_depth,
)

StageFeatures = tuple[Tensor, Tensor]  # the first and the second block's result


class EncoderStage(nn.Module):
    """Halve the size (except in stage 1), then two residual blocks."""

    def __init__(self, in_channels: int, channels: int, halve: bool, conv: ConvFactory, p: float):
        super().__init__()
        self.down = conv(in_channels, channels, 3, stride=2) if halve else nn.Identity()
        self.block1 = ResidualBlock(channels, conv, p, skip=False)
        self.block2 = ResidualBlock(channels, conv, p, skip=False)

    def forward(self, x: Tensor) -> StageFeatures:
        """(B, in, H, W) to two (B, C, H', W')."""
        first = self.block1(self.down(x))
        return first, self.block2(first)


class Encoder(nn.Module):
    """Features at four sizes; one encoder sees frames and flows, the other flows alone."""

    def __init__(self, in_channels: int, nf_start: int, nf_max: int, conv: ConvFactory, p: float):
        super().__init__()
        self.stem = conv(in_channels, nf_start, 1)
        self.stage1 = EncoderStage(nf_start, nf_start, False, conv, p)
        self.stage2 = EncoderStage(nf_start, nf_max, True, conv, p)
        self.stage3 = EncoderStage(nf_max, nf_max, True, conv, p)
        self.stage4 = EncoderStage(nf_max, nf_max, True, conv, p)

    def forward(self, x: Tensor) -> list[StageFeatures]:
        """``x`` (B, in, 32, 32) to the features of stages 1 to 4."""
        features: list[StageFeatures] = []
        x = self.stem(x)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            features.append(stage(x))
            x = features[-1][1]
        return features


class Posterior(nn.Module):
    """q(z | frames, flows): Gaussians of unit variance and learned mean, at 4x4 and 8x8."""

    def __init__(self, channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.stem = conv(channels, channels, 1)
        self.mean4 = ResidualBlock(channels, conv, p, skip=True)
        self.merge_latent4 = conv(2 * channels, channels, 1)
        self.refine4 = ResidualBlock(channels, conv, p, skip=True)
        self.up = SubpixelUp(channels, channels, conv)
        self.mean8 = ResidualBlock(channels, conv, p, skip=True)

    def forward(
        self, stage3: StageFeatures, stage4: StageFeatures, sample: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means and latents, each [(B, nf, 4, 4), (B, nf, 8, 8)].

        Latents are drawn with torch's global generator, or are the means where not ``sample``.
        """
        mean4 = self.mean4(self.stem(stage4[1]), stage4[1])  # (B, nf, 4, 4)
        latent4 = _draw(mean4, sample)
        skip = self.merge_latent4(torch.cat([stage4[0], latent4], dim=1))
        h = self.up(self.refine4(mean4, skip))  # (B, nf, 8, 8)
        mean8 = self.mean8(h, stage3[1])
        return [mean4, mean8], [latent4, _draw(mean8, sample)]


class PriorMean(nn.Module):
    """Mean of p(z | flows), one sub-pixel after another: each sees the latent's one before it."""

    def __init__(self, channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.start = ResidualBlock(channels, conv, p, skip=False)
        self.to_first = conv(4 * channels, channels, 1)
        self.next1 = ResidualBlock(channels, conv, p, skip=True)
        self.next2 = ResidualBlock(channels, conv, p, skip=True)
        self.next3 = ResidualBlock(channels, conv, p, skip=True)

    def forward(self, h: Tensor, latent: Tensor) -> Tensor:
        """``h`` and ``latent`` (B, nf, H, W) to the prior mean (B, nf, H, W)."""
        known = space_to_depth(latent).chunk(4, dim=1)  # four (B, nf, H/2, W/2)
        means = [self.to_first(space_to_depth(self.start(h)))]
        for block, latent_quarter in zip((self.next1, self.next2, self.next3), known, strict=False):
            means.append(block(means[-1], latent_quarter))
        return depth_to_space(torch.cat(means, dim=1))


class BottleneckStage(nn.Module):
    """Blocks of one size around the place where the latent enters."""

    def __init__(self, channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.block_in = ResidualBlock(channels, conv, p, skip=True)
        self.merge_latent = conv(2 * channels, channels, 1)
        self.block_out = ResidualBlock(channels, conv, p, skip=True)

    def forward(self, h: Tensor, features: StageFeatures, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the prior looks at and the stage's result, both (B, nf, H, W)."""
        before = self.block_in(h, features[1])
        skip = self.merge_latent(torch.cat([features[0], latent], dim=1))
        return before, self.block_out(before, skip)


class Bottleneck(nn.Module):
    """From flow features and latents to the decoder's start; the prior branches off."""

    def __init__(self, channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.stem = conv(channels, channels, 1)
        self.stage4 = BottleneckStage(channels, conv, p)
        self.up = SubpixelUp(channels, channels, conv)
        self.stage3 = BottleneckStage(channels, conv, p)
        self.prior_mean = PriorMean(channels, conv, p)

    def forward(
        self, stage3: StageFeatures, stage4: StageFeatures, latents: list[Tensor], with_prior: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Decoder start (B, nf, 8, 8) and the prior means like ``latents`` (or none)."""
        before4, h = self.stage4(self.stem(stage4[1]), stage4, latents[0])
        before3, h = self.stage3(self.up(h), stage3, latents[1])
        if not with_prior:
            return h, []
        return h, [self.prior_mean(before4, latents[0]), self.prior_mean(before3, latents[1])]


class DecoderStage(nn.Module):
    """Double the size, then two residual blocks that read the encoder's features."""

    def __init__(self, in_channels: int, channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.up = SubpixelUp(in_channels, channels, conv)
        self.block2 = ResidualBlock(channels, conv, p, skip=True)
        self.block1 = ResidualBlock(channels, conv, p, skip=True)

    def forward(self, h: Tensor, features: StageFeatures) -> Tensor:
        """(B, in, H, W) to (B, C, 2H, 2W)."""
        return self.block1(self.block2(self.up(h), features[1]), features[0])


class Decoder(nn.Module):
    """From the bottleneck's 8x8 features to the frame."""

    def __init__(self, nf_start: int, nf_max: int, out_channels: int, conv: ConvFactory, p: float):
        super().__init__()
        self.stage2 = DecoderStage(nf_max, nf_max, conv, p)
        self.stage1 = DecoderStage(nf_max, nf_start, conv, p)
        self.final = conv(nf_start, out_channels, 1)

    def forward(self, h: Tensor, stage1: StageFeatures, stage2: StageFeatures) -> Tensor:
        """``h`` (B, nf, 8, 8) to a frame (B, C, 32, 32) in [0, 1], float32."""
        h = self.stage1(self.stage2(h, stage2), stage1)
        return torch.sigmoid(self.final(h).float())


def _draw(mean: Tensor, sample: bool) -> Tensor:
    if not sample:
        return mean
    # Drawn in the order of its indices, so that a seed gives the same latents in any memory layout.
    return mean + torch.randn_like(mean.contiguous())
