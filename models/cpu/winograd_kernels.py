"""Winograd's F(4x4, 3x3) convolution for a CPU: a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), §4.1: an
image is cut into tiles of 6x6 that overlap by two; a tile is transformed in both directions
(B^T d B), multiplied with the transformed weights for each of its 36 places, which are matrix
products over the channels, and transformed back (A^T m A) to 4x4 results.

Compiled by Numba when first called and kept beside this file; all arrays are channels-last.
"""

from __future__ import annotations

import numba
import numpy as np

from models.cpu.product_kernels import aligned_empty, multiply_packed, whole_blocks
from models.cpu.sizes import HALF, LANES, TILE_BYTES, WINOGRAD_TILE
from models.cpu.vectors import BYTES, copy, copy_elu
from models.cpu.winograd_transforms import transform, transform_back, transform_split

PLACES = 36  # of a transformed tile
_ANYTHING, _POSITIVE = np.float32(-np.inf), np.float32(0)


@numba.njit(cache=True, nogil=True)
def convolve(x, beside, elu, weights, bias, added, relu, y, images):
    """3x3 convolution with padding 1, what goes before it and what follows it.

    Args:
        x: (N, H, W, C) float32, H and W multiples of 4, C, C' and K of 16.
        beside: (N, H, W, C') float32, more channels of it, or (0, 0, 0, 0) for none.
        elu: whether ELU is applied to it first.
        weights: (36, C + C', K) float32, transformed, or packed by ``models.cpu.products.pack``.
        bias: (K,) float32.
        added: (N, H, W, K) float32, added to the result, or (0, 0, 0, 0) for nothing.
        relu: whether negative results become 0.
        y: (N, H, W, K) float32, written; or (N, 2H, 2W, K / 4): 2 x 2 pixels of a result.
        images: how many are worked on at a time, so that their tiles stay in the cache.
    """
    num_images, height, width, num_in = x.shape
    num_in += beside.shape[3]
    upscale = y.shape[1] // height
    num_out = y.shape[3] * upscale**2
    rows, columns = height // WINOGRAD_TILE, width // WINOGRAD_TILE
    # One tile more: places a power of two apart would all fall into the same few lines of a cache.
    num_tiles = whole_blocks(images * rows * columns) + 1
    tiles = aligned_empty(PLACES * num_tiles * num_in).reshape(PLACES, num_tiles, num_in)
    products = aligned_empty(PLACES * num_tiles * num_out).reshape(PLACES, num_tiles, num_out)
    padded = np.zeros((height + 2, width + 2, num_in), np.float32)  # its border stays zero
    nothing = np.zeros((1, 1, 1, num_out), np.float32)
    least = np.full(LANES, _POSITIVE if relu else _ANYTHING)
    for first in range(0, num_images, images):
        last = min(num_images, first + images)
        tile = 0
        for n in range(first, last):
            _pad(x[n], elu, 0, padded)
            if len(beside):
                _pad(beside[n], elu, x.strides[2], padded)
            if weights.ndim == 3:
                tile = _transform_image(padded, tiles, tile)
            else:
                tile = _transform_image_split(padded, tiles, tile)
        if weights.ndim == 3:
            for place in range(PLACES):
                np.dot(tiles[place, :tile], weights[place], products[place, :tile])
        else:
            multiply_packed(tiles, tile, weights, products)
        tile = 0
        for n in range(first, last):
            plus, step = (added[n], 1) if len(added) else (nothing[0], 0)
            for part in range(upscale**2):
                to = y[n, part // upscale :, part % upscale :]
                at = part * y.strides[2]
                _transform_image_back(products, tile, at, upscale, bias, plus, step, least, to)
            tile += rows * columns


@numba.njit(cache=True, nogil=True)
def _pad(image, elu, start, padded):
    """Copy an image (H, W, C) to the channels from byte ``start`` on."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            source = image[row, column].ctypes.data
            to = padded[row + 1, column + 1].ctypes.data + start
            for at in range(0, image.strides[1], BYTES):
                if elu:
                    copy_elu(source + at, to + at)
                else:
                    copy(source + at, to + at)


@numba.njit(cache=True, nogil=True)
def _transform_image(padded, tiles, tile):
    """An image's tiles from number ``tile`` on; returns the number after the last."""
    row_bytes, column_bytes, _ = padded.strides
    for row in range(0, len(padded) - 2, WINOGRAD_TILE):
        for column in range(0, padded.shape[1] - 2, WINOGRAD_TILE):
            source, to = padded[row, column].ctypes.data, tiles[0, tile].ctypes.data
            for at in range(0, tiles.strides[1], BYTES):
                transform(source + at, row_bytes, column_bytes, to + at, tiles.strides[0])
            tile += 1
    return tile


@numba.njit(cache=True, nogil=True)
def _transform_image_split(padded, tiles, tile):
    """The same, packed for ``multiply_packed``."""
    row_bytes, column_bytes, _ = padded.strides
    rows_bytes = HALF * tiles.strides[1]  # of 16 tiles
    for row in range(0, len(padded) - 2, WINOGRAD_TILE):
        for column in range(0, padded.shape[1] - 2, WINOGRAD_TILE):
            source = padded[row, column].ctypes.data
            to = tiles.ctypes.data + tile // HALF * rows_bytes + tile % HALF * BYTES
            for _ in range(0, tiles.strides[1], 2 * BYTES):
                transform_split(source, row_bytes, column_bytes, to, tiles.strides[0])
                transform_split(
                    source + BYTES, row_bytes, column_bytes, to + BYTES // 2, tiles.strides[0]
                )
                source += 2 * BYTES
                to += 2 * TILE_BYTES
            tile += 1
    return tile


@numba.njit(cache=True, nogil=True)
def _transform_image_back(products, tile, start, upscale, bias, added, step, least, y):
    """An image's results, of the channels from byte ``start`` on, to each ``upscale``-th pixel.

    ``step`` is 1, or 0 where ``added`` is the same everywhere.
    """
    row_bytes, column_bytes = upscale * y.strides[0], upscale * y.strides[1]
    for row in range(0, -(-y.shape[0] // upscale), WINOGRAD_TILE):
        for column in range(0, -(-y.shape[1] // upscale), WINOGRAD_TILE):
            source = products[0, tile].ctypes.data + start
            from_start = row * row_bytes + column * column_bytes
            for at in range(0, y.strides[1], BYTES):
                transform_back(
                    source + at,
                    products.strides[0],
                    bias.ctypes.data + start + at,
                    added.ctypes.data + step * from_start + at,
                    step * row_bytes,
                    step * column_bytes,
                    least.ctypes.data,
                    y.ctypes.data + from_start + at,
                    row_bytes,
                    column_bytes,
                )
            tile += 1
