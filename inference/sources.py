"""What ``--source`` may be: a video, a folder of videos or of frames, a camera, a stream."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.manifest import VideoEntry
from datasets.video_folders import find_videos, is_frame_folder, unique_names
from datasets.videos import describe_video
from inference.faults import take_readable
from utils.errors import UserError
from utils.untrusted.addresses import without_secrets
from utils.untrusted.text import safe_name

STREAMS = ("rtsp", "rtsps", "http", "https")


def is_camera(source: str) -> bool:
    """Whether it is a camera's number."""
    return re.fullmatch(r"[0-9]{1,4}", source) is not None


def is_stream(source: str) -> bool:
    """Whether it is a camera's number or a stream's address, which have no end."""
    return is_camera(source) or re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def require_stream_address(address: str) -> None:
    """Refuse an address of another kind than cameras and servers have.

    FFmpeg knows many that read local files, join them, or wait for whoever connects.

    Raises:
        UserError: naming those that are opened.
    """
    scheme = address.partition("://")[0]
    if scheme.lower() not in STREAMS:
        raise UserError(
            f"--source {without_secrets(address)}: {scheme}:// is not opened; give an address of "
            f"{', '.join(STREAMS[:-1])} or {STREAMS[-1]}, a camera's number, or a video's path"
        )


def source_name(source: str) -> str:
    """A name for files and tables: ``camera0``, the host of a stream, the name of a file."""
    if is_camera(source):
        return f"camera{source}"
    if is_stream(source):
        address = without_secrets(source).partition("://")[2].rpartition("@")[2]
        return re.sub(r"[^A-Za-z0-9._-]+", "_", address).strip("._") or "stream"
    path = Path(source).absolute()
    path = path.resolve() if path.name == ".." else path
    return safe_name(path.name if path.is_dir() else path.stem)


def find_entries(source: str, faults: list[str] | None = None) -> list[VideoEntry]:
    """The videos that a file or folder holds, each decoded once to count its frames.

    A video that is cut short is taken as far as it goes, with a warning.

    Args:
        source: a video file, a folder of images (one video), or a folder of such files and folders.
        faults: see ``take_readable``.

    Raises:
        UserError: a camera or stream, nothing there, or a video that is unreadable or empty.
    """
    if is_stream(source):
        shown = without_secrets(source)
        if not is_camera(source):
            require_stream_address(source)
        raise UserError(f"--source {shown}: a camera or stream has no end; add --live")
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"--source {without_secrets(source)}: no such file or folder; name a video, a folder "
            "of videos or frames, a camera's number or a stream's address (rtsp://..., http://...)"
        )
    if path.is_dir() and not is_frame_folder(path):
        videos = find_videos(path, skip_others=True)
        named = zip(videos, unique_names(videos), strict=True)
        return take_readable(named, lambda each: _describe(*each), faults)
    return [_describe(path, source_name(source))]


def _describe(path: Path, name: str) -> VideoEntry:
    """Entries belong to a split; nothing depends on which."""
    return describe_video(path, "testing", name, allow_short=True)
