"""BatchNorm and ReLU of bfloat16 in training as vector code; see models.cpu.norm_relu.

Values are (groups, R, C) bfloat16, as int16, C a multiple of 16: each group is normalised by
itself, its rows dealt to ``parts`` threads. What a channel needs are float32 in rows of C.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import intrinsic

from models.cpu.vectors import BYTES, LANES, Integer, Lanes, of_integers

_ROWS = 8  # added up in registers
_LONGEST = 1024  # rows added up in float32 before float64 takes over
_AHEAD = 2048  # bytes: what is read once, from far, is asked for that much earlier
_HALF = BYTES // 2


@intrinsic
def _add_moments(context, x, stride, about, sums, squares):
    """Add 16 channels of eight rows, x - ``about``, and their squares."""
    return of_integers(_write_add_moments, 5)


@intrinsic
def _rectify(context, x, scale, shift, y):
    """Sixteen times x * scale + shift, or zero."""
    return of_integers(_write_rectify, 4)


@intrinsic
def _add_gradients(context, x, grad, stride, scale, shift, sums, products):
    """Add 16 channels of eight rows of the gradient where y was above zero, and times x."""
    return of_integers(_write_add_gradients, 7)


@intrinsic
def _gradient(context, x, grad, scale, shift, of_grad, of_x, constant, to):
    """Sixteen gradients of x: ``of_grad`` * gradient + ``of_x`` * x + ``constant``."""
    return of_integers(_write_gradient, 8)


@numba.njit(cache=True, parallel=True)
def add_moments(x, about, parts, sums):
    """Add x - ``about`` and its square up, to ``sums`` (groups * parts, 2, C) float64."""
    for job in numba.prange(len(sums)):
        group, start, end = _share(job, x, parts)
        _sum_moments(x[group, start:end], about[group], sums[job])


@numba.njit(cache=True, parallel=True)
def rectified(x, scale, shift, y, parts):
    """y = max(x * scale + shift, 0) with (groups, C) float32 ``scale`` and ``shift``."""
    channels = x.shape[2]
    for job in numba.prange(len(x) * parts):
        group, start, end = _share(job, x, parts)
        by, plus = scale[group].ctypes.data, shift[group].ctypes.data
        source, to = x[group, start].ctypes.data, y[group, start].ctypes.data
        for _ in range(start, end):
            for at in range(0, 2 * channels, _HALF):
                _rectify(source + at, by + 2 * at, plus + 2 * at, to + at)
            source += 2 * channels
            to += 2 * channels


@numba.njit(cache=True, parallel=True)
def add_gradients(x, grad, scale, shift, parts, sums):
    """Add gradients where x * scale + shift is above zero, and them times x, to ``sums``."""
    for job in numba.prange(len(sums)):
        group, start, end = _share(job, x, parts)
        values, gradients = x[group, start:end], grad[group, start:end]
        _sum_gradients(values, gradients, scale[group], shift[group], sums[job])


@numba.njit(cache=True, parallel=True)
def gradient(x, grad, scale, shift, of_grad, of_x, constant, to, parts):
    """of_grad * (gradient where x * scale + shift is above zero) + of_x * x + constant."""
    channels = x.shape[2]
    for job in numba.prange(len(x) * parts):
        group, start, end = _share(job, x, parts)
        by, plus = scale[group].ctypes.data, shift[group].ctypes.data
        g, h, c = of_grad[group].ctypes.data, of_x[group].ctypes.data, constant[group].ctypes.data
        source, come = x[group, start].ctypes.data, grad[group, start].ctypes.data
        out = to[group, start].ctypes.data
        for _ in range(start, end):
            for at in range(0, 2 * channels, _HALF):
                of = 2 * at
                _gradient(
                    source + at, come + at, by + of, plus + of, g + of, h + of, c + of, out + at
                )
            source += 2 * channels
            come += 2 * channels
            out += 2 * channels


@numba.njit(cache=True)
def _share(job, x, parts):
    """Group and rows of a job."""
    group, part = job // parts, job % parts
    return group, x.shape[1] * part // parts, x.shape[1] * (part + 1) // parts


@numba.njit(cache=True)
def _as_float32(halves):
    bits = np.empty(len(halves), np.uint32)
    for i in range(len(halves)):
        bits[i] = np.uint32(np.uint16(halves[i])) << np.uint32(16)
    return bits.view(np.float32)


@numba.njit(cache=True)
def _sum_moments(values, about, sums):
    rows, channels = values.shape
    short = np.empty((2, channels), np.float32)
    for first in range(0, rows, _LONGEST):
        short[:] = 0
        last = min(rows, first + _LONGEST)
        whole = first + (last - first) // _ROWS * _ROWS
        for row in range(first, whole, _ROWS):
            for at in range(0, channels, LANES):
                _add_moments(
                    values[row, at:].ctypes.data,
                    values.strides[0],
                    about[at:].ctypes.data,
                    short[0, at:].ctypes.data,
                    short[1, at:].ctypes.data,
                )
        for row in range(whole, last):
            x = _as_float32(values[row]) - about
            short[0] += x
            short[1] += x * x
        sums += short


@numba.njit(cache=True)
def _sum_gradients(values, gradients, scale, shift, sums):
    rows, channels = values.shape
    short = np.empty((2, channels), np.float32)
    for first in range(0, rows, _LONGEST):
        short[:] = 0
        last = min(rows, first + _LONGEST)
        whole = first + (last - first) // _ROWS * _ROWS
        for row in range(first, whole, _ROWS):
            for at in range(0, channels, LANES):
                _add_gradients(
                    values[row, at:].ctypes.data,
                    gradients[row, at:].ctypes.data,
                    values.strides[0],
                    scale[at:].ctypes.data,
                    shift[at:].ctypes.data,
                    short[0, at:].ctypes.data,
                    short[1, at:].ctypes.data,
                )
        for row in range(whole, last):
            x, grad = _as_float32(values[row]), _as_float32(gradients[row])
            for channel in range(channels):
                if x[channel] * scale[channel] + shift[channel] > 0:
                    short[0, channel] += grad[channel]
                    short[1, channel] += grad[channel] * x[channel]
        sums += short


def _write_add_moments(
    x: Integer, stride: Integer, about: Integer, sums: Integer, squares: Integer
) -> None:
    mean, total, square = about.read(), sums.read(), squares.read()
    for number in range(_ROWS):
        value = _read(x + stride * number) - mean
        total, square = total + value, square + value * value
    sums.write(total)
    squares.write(square)


def _write_rectify(x: Integer, scale: Integer, shift: Integer, y: Integer) -> None:
    (y + _AHEAD).fetch()
    y.write_half((_read(x) * scale.read() + shift.read()).at_least(0.0))


def _write_add_gradients(
    x: Integer,
    grad: Integer,
    stride: Integer,
    scale: Integer,
    shift: Integer,
    sums: Integer,
    products: Integer,
) -> None:
    by, plus, total, product = scale.read(), shift.read(), sums.read(), products.read()
    for number in range(_ROWS):
        value = _read(x + stride * number)
        passed = _read(grad + stride * number).where_positive(value * by + plus)
        total, product = total + passed, product + passed * value
    sums.write(total)
    products.write(product)


def _write_gradient(
    x: Integer,
    grad: Integer,
    scale: Integer,
    shift: Integer,
    of_grad: Integer,
    of_x: Integer,
    constant: Integer,
    to: Integer,
) -> None:
    (to + _AHEAD).fetch()
    value = _read(x)
    passed = _read(grad).where_positive(value * scale.read() + shift.read())
    to.write_half(passed * of_grad.read() + value * of_x.read() + constant.read())


def _read(address: Integer) -> Lanes:
    (address + _AHEAD).fetch()
    return address.read_half()
