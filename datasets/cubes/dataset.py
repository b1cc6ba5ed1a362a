"""The cubes of a split, memory-mapped: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from datasets.cubes.files import (
    LAYOUT,
    StoredArray,
    locate_array,
    read_manifest,
    verify_checksums,
)
from datasets.cubes.settings import changed_settings, require_configured
from datasets.manifest import VideoEntry, load_dataset
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError
from utils.files import digest

_ALL = slice(None)


class CubeSet:
    """All cubes of a split, numbered video by video in natural order of the names.

    Made by ``CubeSet.open``. Frame indices and boxes are in memory; appearance and motion stay on
    disk and are mapped when first asked for.

    Attributes:
        videos: names of the videos, also of those without cubes.
        num_frames: frames of each video.
        video_index: (n,) int32, index into ``videos``.
        frames: (n,) int32, frame index in the video.
        boxes: (n,4) float32, x1, y1, x2, y2 in pixels.
        frame_size: (width, height) of the first video.
        settings: the extraction settings, the same for all videos.
        fingerprint: changes when any cube does.
    """

    def __init__(self, folders: Sequence[Path], manifests: Sequence[dict[str, Any]]) -> None:
        self.videos = [folder.name for folder in folders]
        self.frame_size = int(manifests[0]["width"]), int(manifests[0]["height"])
        self.num_frames = {
            folder.name: int(manifest["num_frames"])
            for folder, manifest in zip(folders, manifests, strict=True)
        }
        self.settings: dict[str, Any] = manifests[0]["settings"]
        self.fingerprint = digest(
            [[name, each["checksums"]] for name, each in zip(self.videos, manifests, strict=True)]
        )
        counts = [int(manifest["num_cubes"]) for manifest in manifests]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._files = [
            {name: locate_array(folder, name, count) for name in LAYOUT}
            for folder, count in zip(folders, counts, strict=True)
        ]
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.video_index = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        self.frames = np.concatenate([np.load(files["frames"].path) for files in self._files])
        self.boxes = np.concatenate([np.load(files["boxes"].path) for files in self._files])

    @classmethod
    def open(
        cls,
        root: str | Path,
        split: str,
        videos: Sequence[str] | None = None,
        verify: bool = False,
        pre_process: PreProcessConfig | None = None,
    ) -> CubeSet:
        """Open the cubes of a split.

        Args:
            root: the data set's folder, ``data/NAME``.
            split: ``training`` or ``testing``.
            videos: only these; default: all that ``dataset.json`` lists for the split.
            verify: also compare checksums, which reads every byte.
            pre_process: what the configuration says the cubes were extracted with.

        Raises:
            UserError: no cubes, a video missing, settings that differ between videos or from
                ``pre_process``, cubes of other videos than ``dataset.json`` lists, damaged files.
        """
        parent = Path(root) / "cubes" / split
        entries = load_dataset(root).videos(split) if videos is None else []
        if videos is None:
            videos = [entry.name for entry in entries]
        if not any((parent / name).is_dir() for name in videos):
            raise UserError(
                f"{parent}: no cubes there; run pre_process/extract_samples.py first "
                "(and check data.root)"
            )
        folders = [parent / name for name in videos]
        manifests = [_require_manifest(folder) for folder in folders]
        _require_same_settings(folders, manifests)
        _require_same_videos(entries, folders, manifests)
        if pre_process is not None:
            require_configured(manifests[0]["settings"], pre_process, parent, videos[0])
        if verify:
            for folder, manifest in zip(folders, manifests, strict=True):
                verify_checksums(folder, manifest)
        return cls(folders, manifests)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def gather(
        self, indices: np.ndarray, frames: slice = _ALL, flows: slice = _ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copy cubes, in the order asked for.

        Args:
            indices: (B,) integers in [0, len).
            frames, flows: which of a cube's five frames and four flows; default: all.

        Returns:
            appearance (B,5,32,32,3) uint8 BGR and motion (B,4,32,32,2) float16 pixels.

        Raises:
            IndexError: an index out of range.
        """
        indices = np.asarray(indices, np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"cube indices must be in [0, {len(self)})")
        appearance, motion = (
            _empty(len(indices), *LAYOUT[name], part)
            for name, part in (("appearance", frames), ("motion", flows))
        )
        videos = self.video_index[indices]
        rows = indices - self._starts[videos]
        for place, (video, row) in enumerate(zip(videos.tolist(), rows.tolist(), strict=True)):
            stored_appearance, stored_motion = self._maps.get(video) or self._map(video)
            appearance[place] = stored_appearance[row, frames]
            motion[place] = stored_motion[row, flows]
        return appearance, motion

    def _map(self, video: int) -> tuple[np.ndarray, np.ndarray]:
        files = self._files[video]
        self._maps[video] = _map_file(files["appearance"]), _map_file(files["motion"])
        return self._maps[video]


class PartlyRead(Protocol):
    """Cubes of which parts can be read: ``CubeSet`` and ``datasets.cubes.held_out.CubePart``."""

    def __len__(self) -> int: ...

    def gather(
        self, indices: np.ndarray, frames: slice = ..., flows: slice = ...
    ) -> tuple[np.ndarray, np.ndarray]: ...


class LastFlows:
    """A cube set of which only the last flow of each cube is read, 4 of its 32 kB of flow and
    frames: all that stage 1 trains on."""

    def __init__(self, cubes: PartlyRead) -> None:
        self._cubes = cubes

    def __len__(self) -> int:
        return len(self._cubes)

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``CubeSet.gather``: appearance (B,0,32,32,3), motion (B,1,32,32,2)."""
        return self._cubes.gather(indices, frames=slice(0), flows=slice(-1, None))


def _empty(count: int, shape: tuple[int, ...], kind: str, part: slice) -> np.ndarray:
    """Room for that part of the frames or flows (the first of ``shape``) of ``count`` cubes."""
    return np.empty((count, len(range(shape[0])[part]), *shape[1:]), kind)


def _map_file(stored: StoredArray) -> np.ndarray:
    """Map an array without keeping its file open.

    ``mmap`` of Python holds a file descriptor a map, and a large set has more files than a process
    may open; torch closes the file once it is mapped.
    """
    size = stored.offset + int(np.prod(stored.shape)) * stored.dtype.itemsize
    raw = torch.from_file(str(stored.path), shared=False, size=size, dtype=torch.uint8).numpy()
    return raw[stored.offset :].view(stored.dtype).reshape(stored.shape)


def _require_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(
            f"{folder}: this video has no cubes; run pre_process/extract_samples.py again, "
            "it goes on where it stopped"
        )
    return manifest


def _require_same_settings(folders: Sequence[Path], manifests: Sequence[dict[str, Any]]) -> None:
    first = manifests[0]["settings"]
    for folder, manifest in zip(folders, manifests, strict=True):
        differing = changed_settings(first, manifest["settings"])
        if differing:
            raise UserError(
                f"{folder}: extracted with other settings than {folders[0].name}: "
                f"{'; '.join(differing)}; run pre_process/extract_samples.py --overwrite"
            )


def _require_same_videos(
    entries: Sequence[VideoEntry], folders: Sequence[Path], manifests: Sequence[dict[str, Any]]
) -> None:
    """Refuse cubes that are older than the data set: a video of their name is another one now."""
    for entry, folder, manifest in zip(entries, folders, manifests, strict=False):
        before = tuple(int(manifest[key]) for key in ("num_frames", "width", "height"))
        if before != (entry.num_frames, entry.width, entry.height):
            raise UserError(
                f"{folder}: cubes of a video of {before[0]} frames of {before[1]}x{before[2]}, but "
                f"dataset.json says {entry.num_frames} frames of {entry.width}x{entry.height}: the "
                "video was exchanged; run pre_process/extract_samples.py --overwrite"
            )
