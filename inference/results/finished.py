"""Scored videos of a run that is not over, kept in its folder: an interrupted run goes on there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.video_cubes import KeptFrame, VideoResult
from utils.files import DAMAGED_ARRAY, atomic_path, digest, write_text

FOLDER = ".finished"
_KEY = "settings"


class FinishedVideos:
    """The finished videos of one run.

    Args:
        output: folder of the results.
        key: of all settings that results depend on; another key's videos are not these.
    """

    def __init__(self, output: Path, key: str) -> None:
        self._folder, self._key = output / FOLDER, f"{key}\n"

    def is_this_run(self) -> bool:
        """Whether there are finished videos of this very run."""
        path = self._folder / _KEY
        key = self._key.encode()
        if not path.is_file() or path.stat().st_size != len(key):
            return False
        return path.read_bytes() == key

    def begin(self) -> None:
        """Forget the videos of other runs."""
        if not self.is_this_run():
            shutil.rmtree(self._folder, ignore_errors=True)
            write_text(self._folder / _KEY, self._key)

    def get(self, name: str, source: Mapping[str, Any]) -> VideoResult | None:
        """A finished video, if its ``source`` is as it was then."""
        try:
            with np.load(self._path(name), allow_pickle=False) as content:
                return (
                    _unpacked(name, content) if str(content["source"]) == digest(source) else None
                )
        except (*DAMAGED_ARRAY, KeyError):
            return None

    def keep(self, result: VideoResult, source: Mapping[str, Any]) -> None:
        """Write a finished video; ``source`` is what tells it from others of its name."""
        arrays = _packed(result) | {"source": np.array(digest(source))}
        with atomic_path(self._path(result.name)) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    def remove(self) -> None:
        """The run is over."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{digest(name)}.npz"


def _packed(result: VideoResult) -> dict[str, np.ndarray]:
    kept = result.kept
    jpegs = [np.frombuffer(each.picture, np.uint8) for each in kept]
    return {
        "seconds": result.seconds,
        "frames": result.frames,
        "boxes": result.boxes,
        **{f"error.{name}": values for name, values in result.errors.items()},
        "kept": np.array([(each.cube, each.frame) for each in kept], np.int64).reshape(-1, 2),
        "appearance": np.array([each.appearance for each in kept]),
        "motion": np.array([each.motion for each in kept]),
        "jpegs": np.concatenate([np.zeros(0, np.uint8), *jpegs]),
        "jpeg_sizes": np.array([len(each) for each in jpegs], np.int64),
    }


def _unpacked(name: str, content: Mapping[str, np.ndarray]) -> VideoResult:
    ends = np.cumsum(content["jpeg_sizes"])[:-1]
    jpegs = np.split(content["jpegs"], ends) if len(content["jpeg_sizes"]) else []
    pictures = [each.tobytes() for each in jpegs]
    columns = zip(
        content["kept"].tolist(), content["appearance"], content["motion"], pictures, strict=True
    )
    errors = {key.partition(".")[2]: content[key] for key in content if key.startswith("error.")}
    kept = [KeptFrame(*place, *each) for place, *each in columns]
    return VideoResult(name, content["seconds"], content["frames"], content["boxes"], errors, kept)
