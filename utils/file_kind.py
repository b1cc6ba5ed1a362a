"""What a file is that is not what it should be, by its first bytes, for error messages."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

# First bytes -> what such a file is.
_SIGNATURES = (
    (b"\x89HDF\r\n", "an HDF5 file (Keras or MATLAB 7.3)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "an AVI, WAV or WebP file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
)
_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before its zip archives
_PEEK = 4096  # bytes


def describe_file(path: Path) -> str | None:
    """Say what a file is, with the remedy where there is one: ``a web page ...``.

    Args:
        path: a file that could not be read as what it should be.

    Returns:
        Words that follow "it is"; ``None`` where the bytes tell nothing.
    """
    if path.is_dir():
        return "a folder; name the file in it"
    try:
        with path.open("rb") as handle:
            start = handle.read(_PEEK)
    except OSError:
        return None
    return _describe_text(start) or _describe_bytes(start, path)


def zip_names(path: Path) -> list[str]:
    """The names in a zip archive; none where it is not one or is damaged.

    ``zipfile`` alone would also find an archive at the end of another file, as in a tar archive.
    """
    try:
        with path.open("rb") as handle:
            if handle.read(2) != b"PK":
                return []
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError):
        return []


def _describe_text(start: bytes) -> str | None:
    """Empty files, Git LFS pointers, web pages and other text."""
    if not start.strip(b"\0"):
        return "empty; fetch it again" if not start else "nothing but zero bytes; fetch it again"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer, not the file itself; run 'git lfs pull' where it was cloned"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text[:1024]:
        return "a web page; download the file itself, not the page that links to it"
    if text.startswith(b"<?xml"):
        return "an XML text, as servers answer where access is denied; fetch the file again"
    return f"a text file ({_first_line(start)!r})" if _is_text(start) else None


def _describe_bytes(start: bytes, path: Path) -> str | None:
    if start.startswith(b"PK") and zipfile.is_zipfile(path):
        names = zip_names(path)
        if any(name.endswith("/constants.pkl") for name in names):
            return "a TorchScript archive; save the state_dict of its model with torch.save"
        return f"a zip archive of {', '.join(names[:3]) or 'nothing'}; unpack it"
    kind = next((kind for magic, kind in _SIGNATURES if start.startswith(magic)), None)
    if kind is None and start[8:10] == b'{"':
        return "a safetensors file; convert it to a .pth file with torch.save"
    if kind is None and start[:1] == b"\x80" and start[1] in range(2, 6) and _TORCH not in start:
        return "a Python pickle that torch.save did not write; convert it to a state_dict"
    if kind is None and start[4:8] == b"ftyp":
        return "an MP4 video"
    if kind is None and start[257:262] == b"ustar":
        return "a tar archive; unpack it"
    return f"{kind}; unpack it" if kind and "archive" in kind else kind


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a character is cut at the end of the peek
            return False
        text = start[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def _first_line(start: bytes) -> str:
    line = start.decode("utf-8", errors="replace").strip().splitlines()[0]
    return line if len(line) <= 40 else f"{line[:37]}..."
