"""Float32 matrix products on matrix tiles (AMX), compiled by Numba; see models.cpu.products."""

from __future__ import annotations

import numba
import numpy as np

from models.cpu.sizes import BLOCK, HALF, TILE_BYTES
from models.cpu.tiles import configure, load, multiply_add, save_configuration, store
from models.cpu.vectors import BYTES, split, split_elu

ROWS, DEPTH = 256, 1024  # of the left factor that is kept in a core's cache, 1 MB
_SHAPES = np.zeros(64, np.uint8)  # palette 1, eight tiles of 16 rows of 64 bytes
_SHAPES[0] = 1
_SHAPES[16:32:2] = 64
_SHAPES[48:56] = 16


@numba.njit(cache=True, nogil=True)
def multiply(left, right, out):
    """``left`` @ ``right``.

    Args:
        left: (M, K) float32, K a multiple of 32, rows contiguous.
        right: (N / 32, K / 32, 2, 2, 16, 16, 2) int16: (K, N) packed.
        out: (M or more, N) float32, written; M rounded up to a multiple of 32 must be there.
    """
    num_rows, depth = left.shape
    packed = aligned_empty(min(ROWS, whole_blocks(num_rows)) * min(depth, DEPTH))
    nothing = np.zeros(out.shape[1], np.float32)
    before = begin()
    for top in range(0, num_rows, ROWS):
        rows = left[top : top + ROWS]
        for start in range(0, depth, DEPTH):
            columns = right[:, start // BLOCK : (start + DEPTH) // BLOCK]
            blocks = columns.shape[1]
            for row in range(len(rows)):
                source = rows[row, start:].ctypes.data
                pack_row(source, packed.ctypes.data, row, 0, blocks, blocks, False)
            multiply_block(packed.ctypes.data, len(rows), columns, nothing, out[top:], start == 0)
    configure(before.ctypes.data)


@numba.njit(cache=True, nogil=True)
def multiply_packed(left, num_rows, right, out):
    """The same for ``P`` factors at once, each of few columns and packed already.

    Args:
        left: (P, bytes / 4) float32 aligned to cache lines, of each the halves of ``num_rows``
            rows: (M / 16, K / 32, 2, 16, 32) bfloat16.
        right, out: of :func:`multiply`, ``P`` of them.
    """
    nothing = np.zeros(out.shape[2], np.float32)
    before = begin()
    for place in range(len(left)):
        packed = left.ctypes.data + place * left.strides[0]
        multiply_block(packed, num_rows, right[place], nothing, out[place], True)
    configure(before.ctypes.data)


@numba.njit(cache=True, nogil=True)
def begin():
    """Set the tiles' shapes; returns the old ones, for other libraries may count on theirs."""
    before, shapes = np.empty(64, np.uint8), _SHAPES.copy()
    save_configuration(before.ctypes.data)
    configure(shapes.ctypes.data)
    return before


@numba.njit(cache=True, nogil=True)
def whole_blocks(count):
    """``count``, rounded up."""
    return -(-count // BLOCK) * BLOCK


@numba.njit(cache=True, nogil=True)
def aligned_empty(count):
    """``count`` float32 that start at a cache line: tiles load at half the speed elsewhere."""
    room = np.empty(count + 16, np.float32)
    skipped = (-room.ctypes.data % 64) // 4
    return room[skipped : skipped + count]


@numba.njit(cache=True, nogil=True)
def pack_row(source, packed, row, first, count, blocks, elu):
    """``count`` blocks of a row of float32 as halves, the ``first`` and following of ``blocks``."""
    to = packed + ((row // HALF * blocks + first) * 2 * HALF + row % HALF) * BYTES
    for _ in range(count):
        if elu:
            split_elu(source, to, TILE_BYTES)
            split_elu(source + BYTES, to + BYTES // 2, TILE_BYTES)
        else:
            split(source, to, TILE_BYTES)
            split(source + BYTES, to + BYTES // 2, TILE_BYTES)
        source += 2 * BYTES
        to += 2 * TILE_BYTES


@numba.njit(cache=True, nogil=True)
def multiply_block(packed, num_rows, right, bias, out, first):
    """Some rows times ``right``: to ``out`` with ``bias`` if ``first``, else added to ``out``."""
    blocks = right.shape[1]
    half = blocks * 2 * TILE_BYTES  # of 16 packed rows
    for column in range(len(right)):
        columns = right.ctypes.data + column * right.strides[0]
        start = bias.ctypes.data + column * 4 * BLOCK
        for row in range(0, num_rows, BLOCK):
            rows = packed + row // HALF * half
            to = out.ctypes.data + row * out.strides[0] + column * 4 * BLOCK
            if first:
                _begin_with(start, 0)
            else:
                _begin_with(to, out.strides[0])
            _add_up(rows, half, columns, blocks)
            _finish(to, out.strides[0])


@numba.njit(cache=True, nogil=True, inline="always")
def _begin_with(sums, stride):
    """Of 32 x 32 results tiles 0 to 3; of the factors, 4 and 5 are rows, 6 and 7 columns."""
    lower = sums + HALF * stride
    load(0, sums, stride)
    load(1, sums + BYTES, stride)
    load(2, lower, stride)
    load(3, lower + BYTES, stride)


@numba.njit(cache=True, nogil=True, inline="always")
def _finish(sums, stride):
    lower = sums + HALF * stride
    store(0, sums, stride)
    store(1, sums + BYTES, stride)
    store(2, lower, stride)
    store(3, lower + BYTES, stride)


@numba.njit(cache=True, nogil=True)
def _add_up(rows, half, columns, blocks):
    lower_rows = rows + half
    for _ in range(blocks):
        load(4, rows, BYTES)
        load(5, lower_rows, BYTES)
        load(6, columns, BYTES)
        load(7, columns + 2 * TILE_BYTES, BYTES)
        _four_products()
        load(6, columns + TILE_BYTES, BYTES)
        load(7, columns + 3 * TILE_BYTES, BYTES)
        _four_products()
        load(4, rows + TILE_BYTES, BYTES)
        load(5, lower_rows + TILE_BYTES, BYTES)
        load(6, columns, BYTES)
        load(7, columns + 2 * TILE_BYTES, BYTES)
        _four_products()
        rows += 2 * TILE_BYTES
        lower_rows += 2 * TILE_BYTES
        columns += 4 * TILE_BYTES


@numba.njit(cache=True, nogil=True, inline="always")
def _four_products():
    multiply_add(0, 4, 6)
    multiply_add(1, 4, 7)
    multiply_add(2, 5, 6)
    multiply_add(3, 5, 7)
