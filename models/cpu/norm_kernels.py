"""BatchNorm and ReLU of bfloat16 in training as vector code; see models.cpu.norm_relu.

Values are (groups, R, C) bfloat16, as int16, C a multiple of 16: each group is normalised by
itself, its rows dealt to ``parts`` threads. What a channel needs are float32 in rows of C.
"""

from __future__ import annotations

from functools import partial

import numba
import numpy as np
from numba.extending import intrinsic

from models.cpu.vectors import BYTES, Integer, Lanes, of_integers

_ROWS = 8  # added up in registers
_LONGEST = 1024  # rows added up in float32 before float64 takes over
_AHEAD = 2048  # bytes: what is read once, from far, is asked for that much earlier
_HALF = BYTES // 2


@intrinsic
def _add_moments(context, x, grad, stride, about, unused, sums, squares):
    """Add 16 channels of eight rows, x - ``about``, and their squares."""
    return of_integers(partial(_write_add_moments, _ROWS), 7)


@intrinsic
def _add_moment(context, x, grad, stride, about, unused, sums, squares):
    """The same of one row."""
    return of_integers(partial(_write_add_moments, 1), 7)


@intrinsic
def _add_gradients(context, x, grad, stride, scale, shift, sums, products):
    """Add 16 channels of eight rows of the gradient where y was above zero, and times x."""
    return of_integers(partial(_write_add_gradients, _ROWS), 7)


@intrinsic
def _add_gradient(context, x, grad, stride, scale, shift, sums, products):
    """The same of one row."""
    return of_integers(partial(_write_add_gradients, 1), 7)


@intrinsic
def _rectify(context, x, scale, shift, y):
    """Sixteen times x * scale + shift, or zero."""
    return of_integers(_write_rectify, 4)


@intrinsic
def _gradient(context, x, grad, scale, shift, of_grad, of_x, constant, to):
    """Sixteen gradients of x: ``of_grad`` * gradient + ``of_x`` * x + ``constant``."""
    return of_integers(_write_gradient, 8)


@numba.njit(cache=True, parallel=True)
def add_moments(x, about, parts, sums):
    """Add x - ``about`` and its square up, to ``sums`` (groups * parts, 2, C) float64."""
    for job in numba.prange(len(sums)):
        group, start, end = _share(job, x, parts)
        values = x[group, start:end]
        _add_up(values, values, about[group], about[group], False, sums[job])


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
        _add_up(values, gradients, scale[group], shift[group], True, sums[job])


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
def _add_up(x, grad, first, second, gradients, sums):
    """Sums over rows (R, C): of ``gradients``, with scale and shift, or else of moments."""
    short = np.empty(sums.shape, np.float32)
    for start in range(0, len(x), _LONGEST):
        short[:] = 0
        end = min(len(x), start + _LONGEST)
        whole = end - (end - start) % _ROWS
        for row in range(start, whole, _ROWS):
            _add_rows(True, x[row:], grad[row:], first, second, gradients, short)
        for row in range(whole, end):
            _add_rows(False, x[row:], grad[row:], first, second, gradients, short)
        sums += short


@numba.njit(cache=True)
def _add_rows(eight, x, grad, first, second, gradients, sums):
    """Add the first eight rows, or the first one."""
    stride, square = x.strides[0], sums.strides[0]
    for at in range(0, 4 * x.shape[1], BYTES):
        values, grads = x.ctypes.data + at // 2, grad.ctypes.data + at // 2
        a, b, to = first.ctypes.data + at, second.ctypes.data + at, sums.ctypes.data + at
        if gradients and eight:
            _add_gradients(values, grads, stride, a, b, to, to + square)
        elif gradients:
            _add_gradient(values, grads, stride, a, b, to, to + square)
        elif eight:
            _add_moments(values, grads, stride, a, b, to, to + square)
        else:
            _add_moment(values, grads, stride, a, b, to, to + square)


def _write_add_moments(
    rows: int,
    x: Integer,
    grad: Integer,
    stride: Integer,
    about: Integer,
    unused: Integer,
    sums: Integer,
    squares: Integer,
) -> None:
    mean, total, square = about.read(), sums.read(), squares.read()
    for number in range(rows):
        value = _read(x + stride * number) - mean
        total, square = total + value, square + value * value
    sums.write(total)
    squares.write(square)


def _write_rectify(x: Integer, scale: Integer, shift: Integer, y: Integer) -> None:
    (y + _AHEAD).fetch()
    y.write_half((_read(x) * scale.read() + shift.read()).at_least(0.0))


def _write_add_gradients(
    rows: int,
    x: Integer,
    grad: Integer,
    stride: Integer,
    scale: Integer,
    shift: Integer,
    sums: Integer,
    products: Integer,
) -> None:
    by, plus, total, product = scale.read(), shift.read(), sums.read(), products.read()
    for number in range(rows):
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
