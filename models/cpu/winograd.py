"""3x3 convolutions of a finished model by Winograd's method, where that is faster: on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import numpy as np
import torch
from torch import Tensor

from models.cpu import amx
from models.cpu.convolution import NOTHING, Around, CpuConv2d, alone, channels_last, one_by_one
from models.cpu.products import pack
from models.cpu.sizes import BLOCK, LANES, WINOGRAD_TILE

# Tiles worked on together. Where the weights fit into a core's cache beside them, half as many.
TILES = 128
SMALL_WEIGHTS = 128 * 64
# G of F(4x4, 3x3), times 24 (arXiv 1509.09308, §4.1).
_KERNEL_TRANSFORM = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    dtype=torch.float64,
)
_NO_VALUES = np.zeros((0, 0, 0, 0), np.float32)


class WinogradConv2d(CpuConv2d):
    """As the convolution ``conv``, for inference.

    Equal to about 1e-6 of the values' size; where products are split (:mod:`models.cpu.products`)
    to 5e-5 (root mean square).

    Args:
        conv: 3x3, stride 1, padding 1, channels in multiples of 16.
    """

    def forward(self, x: Tensor, around: Around = NOTHING) -> Tensor:
        """(B, in, H, W) to (B, out, H, W): see :func:`models.cpu.convolution.convolve_and`."""
        batch, channels, height, width = x.shape
        out_channels = self.conv.out_channels // around.upscale**2
        whole_tiles = height % WINOGRAD_TILE == 0 and width % WINOGRAD_TILE == 0
        whole_lanes = channels % LANES == 0 and out_channels % LANES == 0
        if not whole_tiles or not whole_lanes or not alone(x):
            return one_by_one(self.conv, x, around)
        if self.prepared is None:
            self.prepared = _prepare(self.conv.weight)
        # Here, for Numba takes a second to load, and a GPU needs none.
        from models.cpu import winograd_kernels

        y = torch.empty((batch, height * around.upscale, width * around.upscale, out_channels))
        small = self.conv.in_channels * self.conv.out_channels <= SMALL_WEIGHTS
        winograd_kernels.convolve(
            channels_last(x),
            _NO_VALUES if around.beside is None else channels_last(around.beside),
            around.elu,
            self.prepared,
            self.conv.bias.detach().numpy(),
            _NO_VALUES if around.added is None else channels_last(around.added),
            around.relu,
            y.numpy(),
            max(1, (TILES // 2 if small else TILES) * WINOGRAD_TILE**2 // (height * width)),
        )
        return y.permute(0, 3, 1, 2)


def transform_kernels(weight: Tensor) -> Tensor:
    """G g G^T of (out, in, 3, 3): (36, in, out) float32."""
    out_channels, in_channels = weight.shape[:2]
    both = torch.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM) / 24**2  # (36, 9)
    transformed = both @ weight.detach().double().reshape(-1, 9).T
    by_place = transformed.view(36, out_channels, in_channels).transpose(1, 2)
    return by_place.float().contiguous()


def _prepare(weight: Tensor) -> np.ndarray:
    """Transformed kernels, packed for matrix tiles where there are any and sizes suit them."""
    transformed = transform_kernels(weight)
    whole_blocks = all(channels % BLOCK == 0 for channels in weight.shape[:2])
    return pack(transformed) if whole_blocks and amx.usable() else transformed.numpy()


def one_thread_a_product() -> AbstractContextManager:
    """While threads of ours convolve, each multiplies by itself."""
    return _openblas().limit(limits=1)


@cache
def _openblas():
    import scipy.linalg  # noqa: F401  (its library is the one that Numba multiplies with)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")
