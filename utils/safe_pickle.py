"""Read pickled arrays without running anything: pickles, object ``.npy`` files, joblib dumps.

A pickle is a program of three dangers: the names that it looks up, the calls that it makes, and
the states that it sets. So names come from one short table, and never from an import; what the
table holds takes plain arguments only; and a state is set on an empty array or a dtype alone,
after a check of what NumPy's own ``__setstate__`` would trust (lengths, flags, fields).
"""

from __future__ import annotations

import collections
import math
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from utils.errors import UserError
from utils.untrusted.decompress import ReadInPieces, open_maybe_compressed
from utils.untrusted.expansion import require_tree

_DTYPE_KINDS = "biufcSUO"


class _Refused(Exception):
    """The pickle asks for something that is not admitted."""

    def __str__(self) -> str:
        return (
            f"this pickle asks for {self.args[0]}; only NumPy arrays, scalars and plain containers "
            "are read, and nothing in it was run. Get the file from its makers"
        )


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays, scalars and plain containers.

    Raises:
        UserError: missing, cut short or damaged, or it asks for anything else than the above.
    """
    return _read(Path(path), lambda handle: _Unpickler(handle).load())


def load_npy(path: str | Path) -> np.ndarray:
    """Read a ``.npy`` file, also one of dtype object (whose elements are pickled).

    Raises:
        UserError: as ``load_pickle``.
    """
    return _read(Path(path), _read_npy)


def load_joblib(path: str | Path, memory_map: bool = False) -> Any:
    """Read what ``joblib.dump`` wrote: arrays in plain containers, compressed or not.

    Args:
        path: the file. zlib, gzip, bz2, xz and lzma are recognised by their first bytes.
        memory_map: map the arrays of an uncompressed file read-only instead of loading them.

    Raises:
        UserError: as ``load_pickle``.
    """

    def read(handle: BinaryIO) -> Any:
        stream = open_maybe_compressed(handle)
        return _Unpickler(stream, Path(path) if memory_map and stream is handle else None).load()

    return _read(Path(path), read)


def _read(path: Path, read: Callable[[BinaryIO], Any]) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        try:
            return _check_values(read(handle))
        except _Refused as refusal:
            raise UserError(f"{path}: refused: {refusal}") from None
        except Exception as error:  # a damaged program may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: cut short or damaged ({reason}); fetch it again") from None


def _read_npy(handle: BinaryIO) -> np.ndarray:
    old = np.lib.format.read_magic(handle) == (1, 0)
    form = np.lib.format
    shape, _, dtype = (form.read_array_header_1_0 if old else form.read_array_header_2_0)(handle)
    if dtype.hasobject:
        array = _Unpickler(handle).load()
        if not isinstance(array, np.ndarray):
            raise TypeError(f"holds a {type(array).__name__} instead of an array")
        return array
    if _count(shape) * dtype.itemsize > os.fstat(handle.fileno()).st_size - handle.tell():
        raise EOFError("array data")
    handle.seek(0)
    return np.load(handle, allow_pickle=False)


class _JoblibArray:
    """Marks, in place of joblib's ``NumpyArrayWrapper``, where an array's raw bytes follow."""


def _make_array(*_: Any) -> np.ndarray:
    return np.empty(0)  # a shape given here would be memory for nothing


def _make_dtype(code: str, *_: Any) -> np.dtype:
    dtype = np.dtype(code) if isinstance(code, str) else np.dtype("V")
    if dtype.kind not in _DTYPE_KINDS:  # structured ones may turn bytes into pointers
        raise _Refused(f"an array of dtype {code!r}")
    return np.dtype(dtype, copy=True)  # a byte order set on it must not change NumPy's own


def _make_scalar(dtype: np.dtype, data: Any) -> Any:
    if dtype.hasobject:
        return data
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype).reshape(())[()]


def _from_buffer(data: bytes, dtype: np.dtype, shape: tuple, order: Any, *axes: Any) -> np.ndarray:
    if not isinstance(data, bytes | bytearray):
        raise TypeError("array data")
    array = np.frombuffer(data, dtype).reshape(shape, order="C" if order == "K" else order)
    return array.transpose(*axes).copy(order="K") if axes else array.copy(order="K")


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _make_array,  # only passed on
    ("numpy", "dtype"): _make_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _make_array,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _JoblibArray,
    ("_codecs", "encode"): _encode,  # how old protocols spell bytes
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "bytes"): lambda: b"",  # ... and none; bytes(size) could fill the memory
    **{("builtins", kind.__name__): kind for kind in (set, frozenset, complex)},
}


class _Unpickler(pickle._Unpickler):
    """Python's own reader, whose steps can be replaced (the one in C sets any state)."""

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch}  # opcode -> method
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, stream: BinaryIO, mapped_file: Path | None = None):
        self._stream, self._file, self._mapped_file = stream, ReadInPieces(stream), mapped_file
        super().__init__(self._file, encoding="latin1")  # of byte strings of Python 2

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table; nothing is ever imported."""
        module = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]

    def _load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is np.ndarray:
            _check_array_state(*state)
            target.__setstate__(state)
        elif isinstance(target, np.dtype):
            _set_byte_order(target, state)
        elif type(target) is _JoblibArray:
            self.stack[-1] = self._read_joblib_array(state)
        else:
            raise _Refused(f"the state of a {type(target).__name__}")

    def _load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch |= {pickle.BUILD[0]: _load_build, pickle.BYTEARRAY8[0]: _load_bytearray8}

    def _read_joblib_array(self, state: dict[str, Any]) -> np.ndarray:
        dtype, shape, order = state["dtype"], state["shape"], state["order"]
        if dtype.hasobject:
            return _Unpickler(self._stream).load()
        if state.get("numpy_array_alignment_bytes") is not None:
            self._stream.read(self._stream.read(1)[0])  # a count of padding bytes, the padding
        num_bytes = _count(shape) * dtype.itemsize
        if self._mapped_file is not None and num_bytes:
            start = self._stream.tell()
            self._stream.seek(start + num_bytes)
            return np.memmap(self._mapped_file, dtype, "r", start, shape, order)
        raw = self._file.read_writable(num_bytes)
        if len(raw) != num_bytes:
            raise EOFError(f"array data: {len(raw)} of {num_bytes} bytes")
        return np.frombuffer(raw, dtype).reshape(shape, order=order)


def _count(shape: tuple) -> int:
    """Elements of an array of this shape."""
    if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"shape {shape!r}")
    return math.prod(shape)


def _check_array_state(_: int, shape: tuple, dtype: np.dtype, __: bool, data: Any) -> None:
    """NumPy takes as many objects from a list as the shape says, even beyond the list's end."""
    kind, size = (list, 1) if dtype.hasobject else ((bytes, str), dtype.itemsize)
    if not isinstance(data, kind) or not size or len(data) != _count(shape) * size:
        raise ValueError("array data of another length than the shape's")


def _set_byte_order(dtype: Any, state: tuple) -> None:
    """Set the byte order alone: sizes, flags and fields stay the dtype's own."""
    if any(part is not None for part in state[2:5]):
        raise _Refused("an array of structured dtype")
    if state[1] in ("<", ">"):
        version, _, *own = dtype.__reduce__()[2]
        dtype.__setstate__((version, state[1], *own))


def _check_values(value: Any) -> Any:
    """Give back ``value``, in which no function, class or joblib array without bytes is left."""
    pending, visited = [value], {}
    while pending:
        part = pending.pop()
        if id(part) in visited:
            continue
        visited[id(part)] = part  # kept, so that its id is not given to another
        if callable(part) or isinstance(part, _JoblibArray):
            raise _Refused("a function or a class as a value")
        if isinstance(part, dict):
            pending += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            pending += part
        elif isinstance(part, np.ndarray) and part.dtype.hasobject:
            pending += part.ravel().tolist()
    return require_tree(value)
