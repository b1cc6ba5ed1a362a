"""Instructions for matrix tiles (Intel AMX) for Numba.

Tiles are eight registers of 16 rows of 64 bytes. To be compiled only where
:func:`models.cpu.amx.usable` says so. All addresses are integers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE = ir.IntType(8)
_ADDRESS = _BYTE.as_pointer()


@intrinsic
def configure(context, address):
    """Take the 64 bytes at ``address`` as the tiles' shapes; all zero: tiles are not in use."""
    return types.void(types.intp), _of_address("llvm.x86.ldtilecfg")


@intrinsic
def save_configuration(context, address):
    """Write the tiles' shapes, 64 bytes, to ``address``."""
    return types.void(types.intp), _of_address("llvm.x86.sttilecfg")


@intrinsic(prefer_literal=True)
def zero(context, tile):
    """Set a tile to zero."""

    def generate(context, builder, signature, values):
        return _call(context, builder, "llvm.x86.tilezero", _number(tile))

    return types.void(tile), generate


@intrinsic(prefer_literal=True)
def load(context, tile, address, stride):
    """Read 16 rows of 64 bytes, ``stride`` bytes apart."""
    return types.void(tile, types.intp, types.intp), _of_rows("llvm.x86.tileloadd64", tile)


@intrinsic(prefer_literal=True)
def store(context, tile, address, stride):
    """Write 16 rows of 64 bytes, ``stride`` bytes apart."""
    return types.void(tile, types.intp, types.intp), _of_rows("llvm.x86.tilestored64", tile)


@intrinsic(prefer_literal=True)
def multiply_add(context, to, left, right):
    """Add the product of ``left`` (16, 32) and ``right`` (16, 16, 2) bfloat16 to ``to`` float32.

    ``right`` has rows 2k and 2k + 1 of the matrix side by side.
    """

    def generate(context, builder, signature, values):
        tiles = map(_number, (to, left, right))
        return _call(context, builder, "llvm.x86.tdpbf16ps", *tiles)

    return types.void(to, left, right), generate


def _of_address(name: str):
    def generate(context, builder, signature, values):
        return _call(context, builder, name, builder.inttoptr(values[0], _ADDRESS))

    return generate


def _of_rows(name: str, tile: types.IntegerLiteral):
    def generate(context, builder, signature, values):
        address = builder.inttoptr(values[1], _ADDRESS)
        return _call(context, builder, name, _number(tile), address, values[2])

    return generate


def _number(tile: types.IntegerLiteral) -> ir.Constant:
    return ir.Constant(_BYTE, tile.literal_value)


def _call(context, builder: ir.IRBuilder, name: str, *arguments: ir.Value):
    module, kinds = builder.module, [argument.type for argument in arguments]
    if name not in module.globals:
        ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    builder.call(module.globals[name], arguments)
    return context.get_dummy_value()
