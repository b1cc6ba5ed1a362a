"""Pieces of FlowNet2 (arXiv 1612.01925): layers, correlation, warping, shared refinement.

Plain PyTorch: what its authors wrote as CUDA extensions are a few tensor operations here, the
same on CPU and GPU. Attribute names are the published checkpoint's keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1
LEVELS = (5, 4, 3, 2)  # refinement goes from 1/32 of the frame's size to 1/4
UPSAMPLED_CHANNELS = {5: 512, 4: 256, 3: 128, 2: 64}
SKIP_CHANNELS = {5: 512, 4: 512, 3: 256, 2: 128}


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Same-padded convolution and leaky ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2)
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))


def inter_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution without activation; a sequence of one, for the published key ``NAME.0``."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    """Transposed convolution to twice the size and leaky ReLU."""
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))


def predict_flow(inputs: int) -> nn.Conv2d:
    """Convolution to a flow field (u, v)."""
    return nn.Conv2d(inputs, 2, 3, 1, 1)


def upsample_flow(bias: bool = True) -> nn.ConvTranspose2d:
    """Learned upsampling of a flow field to twice its size."""
    return nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=bias)


def correlation(first: Tensor, second: Tensor, reach: int = 20, step: int = 2) -> Tensor:
    """Correlate each position of ``first`` with displaced positions of ``second``.

    Displacements are multiples of ``step``, so a position only ever meets those of its own
    phase (row and column modulo ``step``). Per vertical displacement, one batched matrix product
    compares all columns of every row with all columns of the row that it is displaced to; the
    allowed horizontal displacements are a band of it.

    Args:
        first: (B, C, H, W); H and W multiples of ``step``.
        second: (B, C, H, W).
        reach: largest displacement in pixels, a multiple of ``step``.
        step: displacement step in pixels.

    Returns:
        (B, D * D, H, W) float32 with D = 2 * reach / step + 1: channel ``D * i + j`` is the mean
        over C of first(y, x) * second(y + dy, x + dx), dy = step * i - reach, dx = step * j -
        reach, zero outside (FlowNet, arXiv 1504.06852, §3). Always computed in float32.
    """
    radius = reach // step
    with torch.autocast(first.device.type, enabled=False):
        queries = _split_phases(first.float() / first.shape[1], step)
        around = (0, 0, radius, radius, 0, 0, radius, radius)  # columns and rows outside
        keys = F.pad(_split_phases(second.float(), step), around)
        bands = [
            _correlate_rows(queries, keys[shift : shift + len(queries)], radius)
            for shift in range(2 * radius + 1)
        ]
    return _join_phases(torch.stack(bands, dim=3), len(first), step)


def _split_phases(features: Tensor, step: int) -> Tensor:
    """(B, C, H, W) -> (H / step, B * step * step, W / step, C), contiguous."""
    batch, channels, height, width = features.shape
    grid = features.reshape(batch, channels, height // step, step, width // step, step)
    grid = grid.permute(2, 0, 3, 5, 4, 1)
    return grid.reshape(height // step, batch * step * step, width // step, channels)


def _join_phases(bands: Tensor, batch: int, step: int) -> Tensor:
    """(H / step, B * step * step, W / step, D, D) -> (B, D * D, H, W)."""
    rows, _, columns, side, _ = bands.shape
    grid = bands.reshape(rows, batch, step, step, columns, side * side)
    grid = grid.permute(1, 5, 0, 2, 4, 3)
    return grid.reshape(batch, side * side, rows * step, columns * step)


def _correlate_rows(queries: Tensor, keys: Tensor, radius: int) -> Tensor:
    """Rows (R, N, W, C) with the padded ``keys`` (R, N, W + 2 * radius, C): (R, N, W, D)."""
    rows, phases, width, channels = queries.shape
    side, padded = 2 * radius + 1, width + 2 * radius
    products = torch.bmm(
        queries.reshape(-1, width, channels), keys.reshape(-1, padded, channels).transpose(1, 2)
    )  # (R * N, W, padded)
    band = products.as_strided((rows * phases, width, side), (width * padded, padded + 1, 1))
    return band.reshape(rows, phases, width, side)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample ``image`` where ``flow`` points, bilinear, clamped at the border.

    Args:
        image: (B, C, H, W) float32.
        flow: (B, 2, H, W) float32, (u, v) in pixels.

    Returns:
        (B, C, H, W): image at (x + u, y + v).
    """
    height, width = image.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(image, grid, "bilinear", "border", align_corners=True)


def channel_norm(values: Tensor) -> Tensor:
    """Euclidean norm over the channels: (B, C, H, W) -> (B, 1, H, W)."""
    return values.square().sum(dim=1, keepdim=True).sqrt()


class Pyramid(nn.Module):
    """Encoder tail (conv4 to conv6_1) and coarse-to-fine refinement of FlowNetC, S and SD."""

    def __init__(self, inter_convs: bool, upsample_bias: bool) -> None:
        super().__init__()
        self.conv4, self.conv4_1 = conv(256, 512, stride=2), conv(512, 512)
        self.conv5, self.conv5_1 = conv(512, 512, stride=2), conv(512, 512)
        self.conv6, self.conv6_1 = conv(512, 1024, stride=2), conv(1024, 1024)
        self.inter_convs = inter_convs
        self.predict_flow6 = predict_flow(1024)
        below = 1024
        for level in LEVELS:
            upsampled = UPSAMPLED_CHANNELS[level]
            joined = SKIP_CHANNELS[level] + upsampled + 2
            self.add_module(f"deconv{level}", deconv(below, upsampled))
            self.add_module(f"upsampled_flow{level + 1}_to_{level}", upsample_flow(upsample_bias))
            if inter_convs:
                self.add_module(f"inter_conv{level}", inter_conv(joined, upsampled))
            width = upsampled if inter_convs else joined
            self.add_module(f"predict_flow{level}", predict_flow(width))
            below = joined

    def refine(self, conv2: Tensor, conv3: Tensor) -> Tensor:
        """From the features at 1/4 and 1/8 size to the flow (B, 2, H/4, W/4)."""
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        features = self.conv6_1(self.conv6(conv5))
        flow = self.predict_flow6(features)
        for level, skip in zip(LEVELS, (conv5, conv4, conv3, conv2), strict=True):
            larger_flow = self.get_submodule(f"upsampled_flow{level + 1}_to_{level}")(flow)
            larger = self.get_submodule(f"deconv{level}")(features)
            features = torch.cat([skip, larger, larger_flow], dim=1)
            inner = features
            if self.inter_convs:
                inner = self.get_submodule(f"inter_conv{level}")(features)
            flow = self.get_submodule(f"predict_flow{level}")(inner)
        return flow
