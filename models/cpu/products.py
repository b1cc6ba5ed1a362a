"""Float32 matrix products at two to four times a CPU's float32 speed, where it has AMX.

AMX multiplies bfloat16 and sums float32. Each float32 is split into two bfloat16, x = high + low
to 2^-17 of x, and of the four products of halves the three larger are summed (Henry, Tang and
Heinecke, arXiv 1904.06376, §II). Results are off by some 1e-5 of their size, ten times as much as
float32 ones; a bfloat16 product is by some 1e-3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.cpu.sizes import BLOCK, HALF


def pack(right: Tensor) -> np.ndarray:
    """Right factors (P, K, N) float32 as products want them, zeros added.

    Returns:
        (P, N / 32, K / 32, 2, 2, 16, 16, 2) int16, sizes rounded up: for each block of 32 x 32 and
        each of its halves of 16 columns the upper and the lower bits, pairs of rows side by side.
    """
    places, depth, columns = right.shape
    right = F.pad(right, (0, -columns % BLOCK, 0, -depth % BLOCK))
    high = right.bfloat16()
    low = (right - high.float()).bfloat16()
    packed = torch.empty(
        (places, right.shape[2] // BLOCK, right.shape[1] // BLOCK, 2, 2, HALF, HALF, 2),
        dtype=torch.int16,
    )
    for bits, half in enumerate((high, low)):
        blocks = half.view(torch.int16).view(places, -1, HALF, 2, right.shape[2] // BLOCK, 2, HALF)
        packed[:, :, :, :, bits] = blocks.permute(0, 4, 1, 5, 2, 6, 3)
    return packed.numpy()


def product(left: Tensor, right: np.ndarray) -> Tensor:
    """``left`` (M, K) float32 times one packed factor (K, N): (M, N rounded up to 32) float32.

    Takes one thread. :func:`models.cpu.amx.usable` must have said yes.
    """
    # Here, for Numba takes a second to load, and a GPU needs none.
    from models.cpu import product_kernels

    left = F.pad(left, (0, -left.shape[1] % BLOCK)).contiguous()
    rows = -(-len(left) // BLOCK) * BLOCK
    out = torch.empty((rows, len(right) * BLOCK))
    product_kernels.multiply(left.numpy(), right, out.numpy())
    return out[: len(left)]
