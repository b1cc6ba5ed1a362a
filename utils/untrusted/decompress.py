"""Streams: compressed ones are opened by their first bytes, claimed lengths are not trusted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO, cast

_CHUNK = 1 << 20


def open_maybe_compressed(handle: BinaryIO) -> BinaryIO:
    """Wrap a file that is zlib, gzip, bz2, xz or lzma compressed; give back any other as it is.

    The compression is recognised by the first bytes; the handle must be at its start and seekable.
    """
    head = handle.read(6)
    handle.seek(0)
    if head[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=handle))
    if head[:3] == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(handle))
    if head[:6] == b"\xfd7zXZ\0" or head[:3] == b"]\0\0":
        return cast(BinaryIO, lzma.LZMAFile(handle))
    if head[:1] == b"x":
        return io.BufferedReader(_ZlibStream(handle), _CHUNK)
    return handle


def inflate(stream: BinaryIO, sink: Any, most: int) -> None:
    """Copy a stream to a file.

    Raises:
        ValueError: it gives more than ``most`` bytes, as hostile files do.
    """
    written = 0
    while chunk := stream.read(_CHUNK):
        written += sink.write(chunk)
        if written > most:
            raise ValueError(f"it inflates to more than {most} bytes")


class ReadInPieces:
    """A stream whose long reads grow with what comes: a length only claimed takes no memory."""

    def __init__(self, stream: BinaryIO):
        self._stream, self.readline = stream, stream.readline

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        return self._stream.read(count) if count < _CHUNK else bytes(self.read_writable(count))

    def read_writable(self, count: int) -> bytearray:
        """Up to ``count`` bytes that may be written to."""
        data = bytearray()
        while chunk := self._stream.read(min(_CHUNK, count - len(data))):
            data += chunk
        return data


class _ZlibStream(io.RawIOBase):
    """A bare zlib stream as a readable file (the standard library has only gzip's)."""

    def __init__(self, handle: BinaryIO):
        self._handle = handle
        self._inflater = zlib.decompressobj()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with inflated bytes; 0 at the end of the stream."""
        data = b""
        while not data and not self._inflater.eof:
            compressed = self._inflater.unconsumed_tail or self._handle.read(_CHUNK)
            if not compressed:
                raise EOFError("the compressed stream is cut short")
            data = self._inflater.decompress(compressed, len(buffer))
        buffer[: len(data)] = data
        return len(data)
