"""What a pickle gets when it asks for NumPy's or joblib's constructors.

Each stand-in takes only what a plain array, dtype or scalar needs. They are classes, subclassed
anew for each load: a pickle can set attributes on what it found, and that must not outlive it.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_DTYPE_KINDS = "biufcSUO"


class Refused(Exception):
    """The pickle asks for something that is not admitted."""


class Wrapped:
    """An object that is exchanged for ``value`` when the whole pickle is read."""

    value: Any


class _ArrayType:
    """In place of ``numpy.ndarray``, which pickles only pass on."""


class _Dtype(Wrapped):
    """In place of ``numpy.dtype``: no structured dtypes, whose state may make bytes pointers."""

    def __init__(self, code: str, *_: Any):
        self.value = np.dtype(code)
        if self.value.kind not in _DTYPE_KINDS or self.value.subdtype:
            raise Refused(f"an array of dtype {code!r}")

    def __setstate__(self, state: tuple) -> None:
        if any(part is not None for part in state[2:5]):
            raise Refused("an array of structured dtype")
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array(Wrapped):
    """In place of ``numpy.core.multiarray._reconstruct``."""

    def __init__(self, *_: Any):
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _build_array(data, dtype.value, shape, "F" if is_fortran else "C")


class _FromBuffer(Wrapped):
    """In place of ``numpy.core.numeric._frombuffer`` (protocol 5)."""

    def __init__(self, data: Any, dtype: _Dtype, shape: tuple, order: str, *_: Any):
        self.value = _build_array(bytes(data), dtype.value, shape, order)


class _Scalar(Wrapped):
    """In place of ``numpy.core.multiarray.scalar``."""

    def __init__(self, dtype: _Dtype, data: Any):
        is_object = dtype.value.hasobject
        self.value = data if is_object else _build_array(data, dtype.value, (), "C")[()]


class _JoblibArray(Wrapped):
    """In place of joblib's ``NumpyArrayWrapper``: the array's raw bytes follow in the stream."""

    stream: ClassVar[Any]
    mapped_file: ClassVar[Path | None]
    load_nested: ClassVar[Callable[[], Any]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype, shape, order = state["dtype"].value, state["shape"], state["order"]
        if dtype.hasobject:
            self.value = self.load_nested()  # type: ignore[misc]
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])  # a count of padding bytes, the padding
        self.value = self._read_array(dtype, shape, order)

    def _read_array(self, dtype: np.dtype, shape: tuple, order: Any) -> np.ndarray:
        num_bytes = math.prod(shape) * dtype.itemsize
        if self.mapped_file is not None and num_bytes:
            start = self.stream.tell()
            if start + num_bytes > self.mapped_file.stat().st_size:
                raise EOFError("array data")
            self.stream.seek(start + num_bytes)
            return np.memmap(self.mapped_file, dtype, "r", start, shape, order)
        raw = self.stream.read(num_bytes)
        if len(raw) != num_bytes:
            raise EOFError(f"array data: {len(raw)} of {num_bytes} bytes")
        return np.frombuffer(bytearray(raw), dtype).reshape(shape, order=order)


class _Encode:
    """In place of ``_codecs.encode``, by which old protocols spell bytes."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        """The bytes; only latin1 is used for this."""
        if encoding not in ("latin1", "latin-1"):
            raise Refused(f"encoding {encoding!r}")
        return text.encode("latin1")


class _NoBytes:
    """In place of ``bytes``, by which old protocols spell the empty bytes."""

    def __new__(cls) -> bytes:  # type: ignore[misc]
        """Empty: a size, with which ``bytes`` could fill the memory, is not taken."""
        return b""


_STAND_INS = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _JoblibArray,
    ("_codecs", "encode"): _Encode,
    ("builtins", "bytes"): _NoBytes,
}
# Harmless as they are, and nothing can be set on them.
_PLAIN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
}


def make_restricted_types(
    stream: Any, mapped_file: Path | None, load_nested: Callable[[], Any]
) -> dict[tuple[str, str], type]:
    """All that one pickle may name: (module, name) -> class.

    Args:
        stream: where joblib's raw array bytes are read from.
        mapped_file: map joblib's arrays from this file instead of reading them.
        load_nested: reads the pickle in the stream that joblib writes for an object array.
    """
    context = {
        "stream": stream,
        "mapped_file": mapped_file,
        "load_nested": staticmethod(load_nested),
    }
    own = {key: type(base.__name__, (base,), context) for key, base in _STAND_INS.items()}
    return own | _PLAIN


def _build_array(data: Any, dtype: np.dtype, shape: tuple, order: Any) -> np.ndarray:
    if dtype.hasobject:
        array = np.empty(len(data), object)
        for index, item in enumerate(data):
            array[index] = item
        return array.reshape(shape)  # objects are listed in C order, whatever the array's
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype).reshape(shape, order=order).copy(order="K")
