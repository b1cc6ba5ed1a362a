"""Names of videos as circulating files spell them, and lists of such names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from datasets.manifest import natural_key
from utils.errors import UserError
from utils.files import require_file
from utils.untrusted.text import safe_name

Value = TypeVar("Value")
_ENDINGS = re.compile(r"(\.npy|\.npz|\.mat|\.mp4|\.avi|\.mkv|_i3d|_c3d|_x264)+$")
_CROP = re.compile(r"(.+)__(\d)")
_FILE = re.compile(r"(.*?\.(?:npy|npz|mat|mp4|avi|mkv))(?=$|[\s,;|\"'])", re.IGNORECASE)
_HEADERS = ("path", "video", "name", "file", "filename", "video_name", "feature")


def canonical_name(name: str) -> str:
    """A video's name without what circulating files add: ``_x264``, ``_i3d``, ``.npy``, ..."""
    return safe_name(_ENDINGS.sub("", name))


def canonical_without_crop(name: str) -> str:
    """As ``canonical_name``, without a crop's number: ``A_x264__3.npy`` is ``A``."""
    name = canonical_name(name)
    crop = _CROP.fullmatch(name)
    return canonical_name(crop[1]) if crop else name


def group_crops(names: Sequence[str], source: str | Path) -> dict[str, list[int]] | None:
    """Which of ``names`` are the crops of one video: ``VIDEO__0`` to ``VIDEO__9``.

    Args:
        names: canonical names.
        source: folder or list, for messages.

    Returns:
        Video -> the places of its crops in ``names``, in the order of the crops; ``None`` where no
        name ends in ``__0``, so that the names are videos of their own.

    Raises:
        UserError: some names are crops and others not, or a video lacks crops that others have.
    """
    parts = [_CROP.fullmatch(name) for name in names]
    if not any(part and part[2] == "0" for part in parts):
        return None
    crops: dict[str, dict[int, int]] = {}
    for place, (name, part) in enumerate(zip(names, parts, strict=True)):
        if part is None:
            raise UserError(
                f"{source}: {name} has no crop number, but others are crops (VIDEO__0, VIDEO__1, "
                "...); keep either one file a crop or one file a video"
            )
        held = crops.setdefault(canonical_name(part[1]), {})
        if held.setdefault(int(part[2]), place) != place:
            raise UserError(f"{source}: {name} is there twice; keep one of them")
    most = max(max(held) for held in crops.values()) + 1
    for video, held in crops.items():
        missing = [str(crop) for crop in range(most) if crop not in held]
        if missing:
            raise UserError(
                f"{source}: video {video} lacks crop {', '.join(missing)} of {most} "
                f"({video}__0 to {video}__{most - 1}); complete it, or take the video out"
            )
    return {video: [held[crop] for crop in range(most)] for video, held in crops.items()}


def read_video_list(path: str | Path) -> list[str]:
    """The videos of a circulating list, canonical names in its order.

    A line names one file: ``VIDEO``, ``folder/VIDEO_x264_i3d.npy``, a Windows path; columns after
    the name (labels, lengths) are ignored, and so is a header. Lists of one file a crop (``__0`` to
    ``__9``, a video's lines following each other) name each video once.

    Raises:
        UserError: missing file, no text, no name in it, a video named twice, or crops apart.
    """
    path = Path(path)
    names = [_name_of(line) for line in read_text(path).splitlines() if line.strip()]
    if names and names[0].lower() in _HEADERS:
        names = names[1:]
    crops = group_crops(names, path)
    if crops is not None:
        apart = [video for video, held in crops.items() if max(held) - min(held) >= len(held)]
        if apart:
            raise UserError(
                f"{path}: the crops of {apart[0]} do not follow each other; put all lines of a "
                "video together, in the order of the features"
            )
        names = list(crops)
    if not names:
        raise UserError(f"{path}: names no video; a list has one name or path a line")
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise UserError(f"{path}: names {repeated[0]} twice; keep one line of it")
    return names


def _name_of(line: str) -> str:
    """``F:\\UCF\\Abuse028_x264_i3d.npy 1`` -> ``Abuse028``."""
    line = line.strip().strip("\"'")
    file = _FILE.match(line)
    entry = file[1] if file else re.split(r"[\s,;|]", line, maxsplit=1)[0]
    return canonical_name(re.split(r"[/\\]", entry)[-1])


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, without its byte order mark.

    Raises:
        UserError: missing, or not text.
    """
    require_file(path)
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = data.decode(encoding)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such text file; correct the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; give one in UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path}: not a text file; give one in UTF-8")
    return text


def find_videos(named: Mapping[str, Value], names: Sequence[str]) -> dict[str, Value]:
    """The entries of ``named`` that mean the videos ``names``, under these names.

    Keys are compared as they are, then without what circulating files add to them, then without a
    crop's number: the first spelling under which all keys stay apart and any of them is known.
    """
    known = set(names)
    for spelling in (str, canonical_name, canonical_without_crop):
        spelled = {spelling(key): value for key, value in named.items()}
        if len(spelled) == len(named) and known & set(spelled):
            return spelled
    return dict(named)


def is_order_open(names: Sequence[str]) -> bool:
    """Whether lists of such videos circulate in another order than that of their names.

    Those of UCF-Crime (``Normal_Videos_003``), of weakly supervised ShanghaiTech (training videos
    such as ``01_001`` among ``01_0014``) and of XD-Violence (``..._label_A``) put the abnormal
    videos first and the normal ones last.
    """
    ordered = sorted(names, key=natural_key)
    return any(
        ordered != sorted(ordered, key=lambda name: re.search(normal, name) is not None)
        for normal in (r"^Normal", r"^\d\d_\d{3}$", r"_label_A$")
    )
