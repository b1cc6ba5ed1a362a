"""Files of a few bytes that declare pictures which fill any memory."""

from __future__ import annotations

import resource
import struct
import zlib

import cv2
import numpy as np
import pytest

from datasets.image_folders import read_image
from datasets.videos import describe_video
from utils.errors import UserError


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG of that size, and hardly anything behind it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def jpeg_of(width: int, height: int) -> bytes:
    """A small JPEG whose header says another size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("side", [9000, 60_000])
def test_an_image_that_declares_too_many_pixels_is_refused_undecoded(tmp_path, side):
    path = tmp_path / "0.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(UserError, match=r"0\.png: an image of more than 67 million pixels"):
        read_image(path)


def test_a_video_of_pictures_that_are_too_large_takes_no_memory(tmp_path):
    path = tmp_path / "v.mjpeg"
    path.write_bytes(jpeg_of(30_000, 30_000) * 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"smaller than 67 million pixels|not a video"):
        describe_video(path, "testing")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
