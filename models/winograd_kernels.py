"""Winograd's F(4x4, 3x3) convolution for a CPU: a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), §4.1: an
image is cut into tiles of 6x6 that overlap by two; a tile is transformed in both directions
(B^T d B), multiplied with the transformed weights for each of its 36 places, which are matrix
products over the channels, and transformed back (A^T m A) to 4x4 results.

Compiled by Numba when first called and kept beside this file; all arrays are channels-last.
"""

from __future__ import annotations

import math

import numba
import numpy as np

TILE = 4  # results a side
PLACES = 36  # of a transformed tile

_TWO, _FOUR, _FIVE, _EIGHT = map(np.float32, (2, 4, 5, 8))
_ZERO, _ONE = np.float32(0), np.float32(1)
# Of ELU: its argument is clamped (exp(-20) is nothing beside 1), divided, and put in a series.
_LEAST, _PART = np.float32(-20), np.float32(1 / 32)
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_compiled = numba.njit(cache=True, fastmath={"contract", "nsz", "arcp", "reassoc"})


@numba.njit(cache=True, nogil=True)
def convolve(x, elu, weights, bias, added, relu, y, images):
    """3x3 convolution with padding 1, what goes before it and what follows it.

    Args:
        x: (N, H, W * C) float32, H and W multiples of 4.
        elu: whether ELU is applied to it first.
        weights: (36, C, K) float32, transformed.
        bias: (K,) float32.
        added: (N, H, W, K) float32, added to the result, or (0, 0, 0, 0) for nothing.
        relu: whether negative results become 0.
        y: (N, H, W, K) float32, written.
        images: how many are worked on at a time, so that their tiles stay in the cache.
    """
    num_images, height, width, num_out = y.shape
    num_in = weights.shape[1]
    rows, columns = height // TILE, width // TILE
    # One tile more: places a power of two apart would all fall into the same few lines of a cache.
    num_tiles = images * rows * columns + 1
    tiles = np.empty((PLACES, num_tiles, num_in), np.float32)
    products = np.empty((PLACES, num_tiles, num_out), np.float32)
    half = np.zeros((6, (width + 2) * num_in), np.float32)  # its outer columns stay zero
    half_back = np.empty((TILE, 6, num_out), np.float32)
    no_row = np.zeros(width * num_in, np.float32)
    activated = np.empty((height, width * num_in), np.float32)
    for first in range(0, num_images, images):
        last = min(num_images, first + images)
        tile = 0
        for n in range(first, last):
            image = x[n]
            if elu:
                _elu(image, activated)
                image = activated
            for row in range(rows):
                _transform_rows(image, TILE * row - 1, no_row, half, num_in)
                for column in range(columns):
                    _transform_columns(half, TILE * column * num_in, num_in, tiles, tile)
                    tile += 1
        for place in range(PLACES):
            np.dot(tiles[place, :tile], weights[place], products[place, :tile])
        tile = 0
        for n in range(first, last):
            for row in range(rows):
                for column in range(columns):
                    _transform_back_rows(products, tile, half_back)
                    _write(half_back, bias, added, relu, y, n, TILE * row, TILE * column)
                    tile += 1


@_compiled
def _elu(image, activated):
    """x above zero, else exp(x) - 1, to float32's last digits.

    With e(x) = exp(x) - 1: a series for e(x / 32), then five times e(2y) = e(y) (e(y) + 2), which
    a processor does for many values at once.
    """
    for row in range(len(image)):
        for i in range(image.shape[1]):
            x = image[row, i]
            y = max(min(x, _ZERO), _LEAST) * _PART
            e = y * (_ONE + y * (_C2 + y * (_C3 + y * (_C4 + y * (_C5 + y * (_C6 + y * _C7))))))
            e = e * (e + _TWO)
            e = e * (e + _TWO)
            e = e * (e + _TWO)
            e = e * (e + _TWO)
            e = e * (e + _TWO)
            activated[row, i] = x if x > _ZERO else e


@_compiled
def _write(half, bias, added, relu, y, n, top, left):
    """A tile's 4x4 results, from (A^T m) on."""
    for row in range(TILE):
        to = y[n, top + row, left : left + TILE]
        _transform_back_columns(half[row], bias, to)
        if len(added):
            _add(to, added[n, top + row, left : left + TILE])
        if relu:
            _rectify(to)


@_compiled
def _transform_rows(image, top, no_row, half, num_in):
    """B^T d of six rows from ``top`` on; rows outside the image are zero."""
    height = len(image)
    d0 = image[top] if top >= 0 else no_row
    d1, d2, d3, d4 = image[top + 1], image[top + 2], image[top + 3], image[top + 4]
    d5 = image[top + 5] if top + 5 < height else no_row
    end = num_in + len(no_row)
    t0, t1, t2 = half[0, num_in:end], half[1, num_in:end], half[2, num_in:end]
    t3, t4, t5 = half[3, num_in:end], half[4, num_in:end], half[5, num_in:end]
    for i in range(len(no_row)):
        _six(d0[i], d1[i], d2[i], d3[i], d4[i], d5[i], t0, t1, t2, t3, t4, t5, i)


@_compiled
def _transform_columns(half, left, num_in, tiles, tile):
    """(B^T d) B of six columns, from position ``left`` of the six rows on."""
    for row in range(6):
        h = half[row, left : left + 6 * num_in]
        d0, d1, d2 = h[:num_in], h[num_in : 2 * num_in], h[2 * num_in : 3 * num_in]
        d3, d4, d5 = h[3 * num_in : 4 * num_in], h[4 * num_in : 5 * num_in], h[5 * num_in :]
        t0, t1, t2 = tiles[6 * row, tile], tiles[6 * row + 1, tile], tiles[6 * row + 2, tile]
        t3, t4, t5 = tiles[6 * row + 3, tile], tiles[6 * row + 4, tile], tiles[6 * row + 5, tile]
        for i in range(num_in):
            _six(d0[i], d1[i], d2[i], d3[i], d4[i], d5[i], t0, t1, t2, t3, t4, t5, i)


@numba.njit(cache=True, inline="always", fastmath={"contract", "nsz", "arcp", "reassoc"})
def _six(d0, d1, d2, d3, d4, d5, t0, t1, t2, t3, t4, t5, i):
    """B^T times a column of six."""
    t0[i] = _FOUR * d0 - _FIVE * d2 + d4
    even, odd = d4 - _FOUR * d2, d3 - _FOUR * d1
    t1[i], t2[i] = even + odd, even - odd
    even, odd = d4 - d2, _TWO * (d3 - d1)
    t3[i], t4[i] = even + odd, even - odd
    t5[i] = _FOUR * d1 - _FIVE * d3 + d5


@_compiled
def _transform_back_rows(products, tile, half):
    """A^T m: (6, 6, K) to (4, 6, K)."""
    for column in range(6):
        m0, m1, m2 = products[column, tile], products[6 + column, tile], products[12 + column, tile]
        m3, m4 = products[18 + column, tile], products[24 + column, tile]
        m5 = products[30 + column, tile]
        h0, h1, h2, h3 = half[0, column], half[1, column], half[2, column], half[3, column]
        for i in range(len(m0)):
            near, near_odd = m1[i] + m2[i], m1[i] - m2[i]
            far, far_odd = m3[i] + m4[i], m3[i] - m4[i]
            h0[i] = m0[i] + near + far
            h1[i] = near_odd + _TWO * far_odd
            h2[i] = near + _FOUR * far
            h3[i] = near_odd + _EIGHT * far_odd + m5[i]


@_compiled
def _transform_back_columns(m, bias, to):
    """(A^T m) A and the bias: (6, K) to (4, K)."""
    m0, m1, m2, m3, m4, m5 = m[0], m[1], m[2], m[3], m[4], m[5]
    y0, y1, y2, y3 = to[0], to[1], to[2], to[3]
    for i in range(len(bias)):
        near, near_odd = m1[i] + m2[i], m1[i] - m2[i]
        far, far_odd = m3[i] + m4[i], m3[i] - m4[i]
        y0[i] = m0[i] + near + far + bias[i]
        y1[i] = near_odd + _TWO * far_odd + bias[i]
        y2[i] = near + _FOUR * far + bias[i]
        y3[i] = near_odd + _EIGHT * far_odd + m5[i] + bias[i]


@_compiled
def _add(to, values):
    for column in range(TILE):
        for i in range(to.shape[1]):
            to[column, i] += values[column, i]


@_compiled
def _rectify(to):
    for column in range(TILE):
        for i in range(to.shape[1]):
            to[column, i] = max(to[column, i], _ZERO)
