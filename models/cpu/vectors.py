"""Vector instructions for Numba: Python that writes them, sixteen float32 at a time.

Numba's own loops depend on a compiler that must prove that a dozen arrays do not overlap. Here a
function gets the integers of a call as :class:`Integer` and writes what a processor shall do with
:class:`Lanes`; loops and lists of that function are unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from models.cpu.sizes import LANES

BYTES = 4 * LANES
_BIT32, _BIT64, _BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)
_FLOATS, _BITS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_BIT32, LANES)
_HALVES = ir.VectorType(ir.IntType(16), LANES)
_MERGE = ("contract",)  # a product and a sum may be one instruction
_AHEAD = 1024  # bytes: what is read once, from far, is asked for that much earlier
_LOG2_E, _LN_2 = 1 / math.log(2), math.log(2)
_ROUNDER = 1.5 * 2**23  # added, it leaves an integer in a float32's last bits
_LEAST = -60.0  # of an exponent; exp(-60) is nothing beside 1


def of_integers(write: Callable[..., None], count: int):
    """What a Numba intrinsic returns that takes ``count`` integers and gives nothing.

    Args:
        write: called with ``count`` :class:`Integer` when the function is compiled.
    """

    def generate(context, builder, signature, values):
        write(*(Integer(builder, value) for value in values))
        return context.get_dummy_value()

    return types.void(*[types.intp] * count), generate


class Integer:
    """An integer of the running program; where it is read or written, an address."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Integer | int) -> Integer:
        return Integer(self.builder, self.builder.add(self.value, self._value_of(other)))

    def __mul__(self, other: Integer | int) -> Integer:
        return Integer(self.builder, self.builder.mul(self.value, self._value_of(other)))

    def read(self) -> Lanes:
        """The 16 float32 here."""
        where = self.builder.inttoptr(self.value, _FLOATS.as_pointer())
        return Lanes(self.builder, self.builder.load(where, align=4, typ=_FLOATS))

    def write(self, lanes: Lanes) -> None:
        """Put 16 float32 here."""
        where = self.builder.inttoptr(self.value, _FLOATS.as_pointer())
        self.builder.store(lanes.value, where, align=4)

    def read_half(self) -> Lanes:
        """The 16 bfloat16 here."""
        where = self.builder.inttoptr(self.value, _HALVES.as_pointer())
        halves = self.builder.load(where, align=2, typ=_HALVES)
        return (Bits(self.builder, self.builder.zext(halves, _BITS)) << 16).as_lanes()

    def write_half(self, lanes: Lanes) -> None:
        """Put 16 float32 here as bfloat16, rounded to nearest, ties to even."""
        bits = lanes.bits()
        odd = self.builder.and_(bits.upper().value, Bits.every(1))
        self._write_halves(Bits(self.builder, self.builder.add((bits + 0x7FFF).value, odd)))

    def write_split(self, lanes: Lanes, distance: Integer | int) -> None:
        """Put 16 float32 here as bfloat16, rounded, and ``distance`` bytes on what that leaves."""
        high = (lanes.bits() + 0x8000) & 0xFFFF0000
        low = (lanes - high.as_lanes()).bits() + 0x8000
        self._write_halves(high)
        (self + distance)._write_halves(low)

    def fetch(self) -> None:
        """Bring what is here into the cache, without waiting for it."""
        pointer, module = _BYTE.as_pointer(), self.builder.module
        kind = ir.FunctionType(ir.VoidType(), [pointer, _BIT32, _BIT32, _BIT32])
        name = "llvm.prefetch.p0"
        function = module.globals.get(name) or ir.Function(module, kind, name)
        reading_to_all_caches_data = [ir.Constant(_BIT32, number) for number in (0, 3, 1)]
        where = self.builder.inttoptr(self.value, pointer)
        self.builder.call(function, [where, *reading_to_all_caches_data])

    def _write_halves(self, bits: Bits) -> None:
        where = self.builder.inttoptr(self.value, _HALVES.as_pointer())
        self.builder.store(self.builder.trunc(bits.upper().value, _HALVES), where, align=2)

    def _value_of(self, other: Integer | int) -> ir.Value:
        return other.value if isinstance(other, Integer) else ir.Constant(_BIT64, other)


class Lanes:
    """Sixteen float32."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, self._value_of(other), "", _MERGE))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, self._value_of(other), "", _MERGE))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fmul(self.value, self._value_of(other), "", _MERGE))

    def where_positive(self, condition: Lanes) -> Lanes:
        """Zero where ``condition`` is not above zero."""
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        positive = self.builder.fcmp_ordered(">", condition.value, zero)
        return Lanes(self.builder, self.builder.select(positive, self.value, zero))

    def at_least(self, other: Lanes | float) -> Lanes:
        """The larger of two; this one where it is no number."""
        least = self._value_of(other)
        smaller = self.builder.fcmp_ordered("<", self.value, least)
        return Lanes(self.builder, self.builder.select(smaller, least, self.value))

    def above(self, bound: float, otherwise: Lanes) -> Lanes:
        """This one where it is greater than ``bound``."""
        greater = self.builder.fcmp_ordered(">", self.value, self._value_of(bound))
        return Lanes(self.builder, self.builder.select(greater, self.value, otherwise.value))

    def bits(self) -> Bits:
        return Bits(self.builder, self.builder.bitcast(self.value, _BITS))

    def _value_of(self, other: Lanes | float) -> ir.Value:
        return other.value if isinstance(other, Lanes) else ir.Constant(_FLOATS, [other] * LANES)


class Bits:
    """The bits of sixteen float32, as integers."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    @staticmethod
    def every(number: int) -> ir.Constant:
        return ir.Constant(_BITS, [number] * LANES)

    def __add__(self, number: int) -> Bits:
        return Bits(self.builder, self.builder.add(self.value, self.every(number)))

    def __and__(self, number: int) -> Bits:
        return Bits(self.builder, self.builder.and_(self.value, self.every(number)))

    def __lshift__(self, number: int) -> Bits:
        return Bits(self.builder, self.builder.shl(self.value, self.every(number)))

    def upper(self) -> Bits:
        """The upper half of each, shifted down."""
        return Bits(self.builder, self.builder.lshr(self.value, self.every(16)))

    def as_lanes(self) -> Lanes:
        return Lanes(self.builder, self.builder.bitcast(self.value, _FLOATS))


def read_ahead(address: Integer, elu: bool) -> Lanes:
    """The 16 float32 at ``address``, or their ELU; those farther on are sent for."""
    (address + _AHEAD).fetch()
    x = address.read()
    return x.above(0.0, otherwise=_exp_minus_1(x.at_least(_LEAST))) if elu else x


def _exp_minus_1(x: Lanes) -> Lanes:
    """For x in -60 to 0; above it, anything. exp(x) = 2^n exp(r), r = x - n log 2."""
    rounded = x * _LOG2_E + _ROUNDER
    power = ((rounded.bits() << 23) + 0x3F800000).as_lanes()
    r = x - (rounded - _ROUNDER) * _LN_2
    series = r * (1 / 720) + 1 / 120
    for factorial in (24, 6, 2, 1):
        series = r * series + 1 / factorial
    return power * (r * series) + (power - 1.0)


@intrinsic
def copy(context, source, to):
    """Sixteen float32."""
    return of_integers(lambda source, to: to.write(read_ahead(source, False)), 2)


@intrinsic
def copy_elu(context, source, to):
    """ELU of sixteen float32."""
    return of_integers(lambda source, to: to.write(read_ahead(source, True)), 2)


@intrinsic
def split(context, source, to, distance):
    """Sixteen float32 to bfloat16 halves; see :meth:`Integer.write_split`."""
    return of_integers(lambda s, to, distance: to.write_split(read_ahead(s, False), distance), 3)


@intrinsic
def split_elu(context, source, to, distance):
    """ELU of sixteen float32 to bfloat16 halves."""
    return of_integers(lambda s, to, distance: to.write_split(read_ahead(s, True), distance), 3)
