"""Read pickled arrays without running anything: pickles, object ``.npy`` files, joblib dumps.

A pickle is a program. This reader admits NumPy arrays, dtypes and scalars and plain containers,
and puts its own small stand-ins in the place of NumPy's constructors, so that no real NumPy type,
whose ``__setstate__`` takes whatever it is given, is in reach of the file. Anything else is
refused before it is even imported.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from utils.decompress import open_maybe_compressed
from utils.errors import UserError
from utils.pickle_stand_ins import Refused, Wrapped, make_restricted_types


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays, scalars and plain containers.

    Raises:
        UserError: missing, cut short or damaged, or it asks for anything else than the above.
    """
    return _read(Path(path), lambda handle: _Unpickler(handle).load())


def loads(data: bytes, source: str) -> Any:
    """Like ``load_pickle`` from bytes; ``source`` names them in error messages."""
    return _guarded(source, lambda: _Unpickler(io.BytesIO(data)).load())


def load_npy(path: str | Path) -> np.ndarray:
    """Read a ``.npy`` file, also one of dtype object (whose elements are pickled).

    Raises:
        UserError: as ``load_pickle``.
    """

    def read(handle: BinaryIO) -> np.ndarray:
        version = np.lib.format.read_magic(handle)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        dtype = read_header(handle)[2]
        if dtype.hasobject:
            return _Unpickler(handle).load()
        handle.seek(0)
        return np.load(handle, allow_pickle=False)

    array = _read(Path(path), read)
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: damaged: holds a {type(array).__name__} instead of an array")
    return array


def load_joblib(path: str | Path, memory_map: bool = False) -> Any:
    """Read what ``joblib.dump`` wrote: arrays in plain containers, compressed or not.

    Args:
        path: the file. zlib, gzip, bz2, xz and lzma are told by their first bytes.
        memory_map: map the arrays of an uncompressed file read-only instead of loading them.

    Raises:
        UserError: as ``load_pickle``.
    """
    path = Path(path)

    def read(handle: BinaryIO) -> Any:
        stream = open_maybe_compressed(handle)
        mapped = path if memory_map and stream is handle else None
        return _Unpickler(_Unbuffered(stream), mapped).load()

    return _read(path, read)


def _read(path: Path, read: Callable[[BinaryIO], Any]) -> Any:
    try:
        handle = path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file") from None
    with handle:
        return _guarded(str(path), lambda: read(handle))


def _guarded(source: str, read: Callable[[], Any]) -> Any:
    try:
        return _unwrap(read(), {})
    except Refused as refusal:
        raise UserError(
            f"{source}: refused: this pickle asks for {refusal}; only NumPy arrays, scalars and "
            "plain containers are read, and nothing in it was run. Get the file from its makers"
        ) from None
    except Exception as error:  # a damaged pickle is a damaged program: it may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{source}: cut short or damaged ({reason}); fetch it again") from None


class _Unpickler(pickle.Unpickler):
    """Finds nothing but the stand-ins."""

    def __init__(self, stream: Any, mapped_file: Path | None = None):
        # latin1: arrays in pickles of Python 2 are byte strings
        super().__init__(stream, encoding="latin1")
        self._admitted = make_restricted_types(
            stream, mapped_file, lambda: _Unpickler(stream).load()
        )

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up among the stand-ins; nothing is ever imported."""
        module = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        try:
            return self._admitted[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


class _Unbuffered:
    """Hide ``peek``, so that the unpickler takes no byte before it needs it.

    joblib writes an array's raw bytes between two opcodes; they must still be in the stream.
    """

    def __init__(self, stream: Any):
        self.read, self.readinto, self.readline = stream.read, stream.readinto, stream.readline
        self.seek, self.tell = stream.seek, stream.tell


def _unwrap(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Exchange the stand-ins inside containers for what they hold.

    Mutable containers are changed in place. ``done`` maps an object's id to the object (kept, so
    that its id is not given to another) and its replacement: shared parts stay shared.
    """
    while isinstance(value, Wrapped):
        value = value.value
    if id(value) in done:
        return done[id(value)][1]
    if isinstance(value, tuple | frozenset):
        replacement = type(value)(_unwrap(item, done) for item in value)
        done[id(value)] = value, replacement
        return replacement
    done[id(value)] = value, value
    if isinstance(value, dict):
        items = [(_unwrap(key, done), _unwrap(item, done)) for key, item in value.items()]
        value.clear()
        value.update(items)
    elif isinstance(value, set):
        items = [_unwrap(item, done) for item in value]
        value.clear()
        value.update(items)
    elif isinstance(value, list):
        value[:] = [_unwrap(item, done) for item in value]
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        for index in np.ndindex(value.shape):
            value[index] = _unwrap(value[index], done)
    elif callable(value):
        raise Refused("a function or a class as a value")
    return value
