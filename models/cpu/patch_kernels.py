"""Convolutions as one matrix product over patches, compiled by Numba; see models.cpu.patches."""

from __future__ import annotations

import numba
import numpy as np

from models.cpu.product_kernels import (
    ROWS,
    aligned_empty,
    begin,
    multiply_block,
    pack_row,
)
from models.cpu.sizes import BLOCK
from models.cpu.tiles import configure


@numba.njit(cache=True, nogil=True)
def convolve(x, elu, weights, bias, offsets, stride, y):
    """Products of patches, the pixels ``offsets`` from every ``stride``-th one, and ``weights``.

    Args:
        x: (N, H, W, C) float32, contiguous, C a multiple of 32; zero outside.
        elu: whether ELU is applied to it first.
        weights: (len(offsets) * C, K) packed by ``models.cpu.products.pack``.
        bias: (K,) float32.
        offsets: (n, 2) int64, rows and columns.
        stride: 1 or more; H and W are multiples of it.
        y: (N * H * W / stride^2, rounded up to 32, K) float32, written.
    """
    num_images, height, width, num_in = x.shape
    rows, columns = height // stride, width // stride
    total = num_images * rows * columns
    per_pixel = num_in // BLOCK
    blocks = per_pixel * len(offsets)
    packed = aligned_empty(ROWS * blocks * BLOCK)
    nothing = np.zeros(num_in, np.float32)
    before = begin()
    for first in range(0, total, ROWS):
        count = min(ROWS, total - first)
        for number in range(count):
            image, pixel = divmod(first + number, rows * columns)
            top, left = stride * (pixel // columns), stride * (pixel % columns)
            for patch in range(len(offsets)):
                row, column = top + offsets[patch, 0], left + offsets[patch, 1]
                inside = 0 <= row < height and 0 <= column < width
                source = x[image, row, column].ctypes.data if inside else nothing.ctypes.data
                at = patch * per_pixel
                pack_row(source, packed.ctypes.data, number, at, per_pixel, blocks, elu)
        multiply_block(packed.ctypes.data, count, weights, bias, y[first:], True)
    configure(before.ctypes.data)
