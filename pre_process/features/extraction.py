"""From one video to its snippet features, streaming; which videos are still to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.features.settings import FORMAT_VERSION, SETTINGS_FILE, read_settings
from datasets.manifest import VideoEntry
from datasets.videos import read_frames
from pre_process.cluster import Task
from pre_process.features.build import Backbone, build_backbone
from utils.config.frd import FeatureConfig
from utils.errors import UserError
from utils.files import atomic_path, write_json
from utils.npy_writer import NpyWriter


@dataclass(frozen=True)
class FeatureJob:
    """Feature extraction of one data set: call it in each process to get that process's task."""

    config: FeatureConfig
    frames: int  # a snippet
    root: Path

    def __call__(self) -> Task:
        """Load the backbone once; the task writes one video's features."""
        backbone = build_backbone(self.config, self.frames)

        def extract(entry: VideoEntry, report: Callable[[int], None]) -> None:
            # Not a memory map: a full disk would end the process without a word.
            row_shape = (self.config.crops, backbone.feature_size)
            with (
                atomic_path(feature_file(self.root, entry)) as temporary,
                NpyWriter(temporary, row_shape, "<f4") as array,
            ):
                for batch in self._batches(backbone, entry, report):
                    array.append(backbone(batch))

        return extract

    def product(self, entry: VideoEntry) -> Path:
        """The file that appears when a video is finished."""
        return feature_file(self.root, entry)

    def num_snippets(self, entry: VideoEntry) -> int:
        """Whole snippets of a video; frames left over at its end belong to none."""
        return max(1, entry.num_frames // self.frames)

    def _batches(
        self, backbone: Backbone, entry: VideoEntry, report: Callable[[int], None]
    ) -> Iterator[list[list[np.ndarray]]]:
        """Prepared frames, snippet by snippet; a video shorter than one repeats its last frame."""
        batch: list[list[np.ndarray]] = []
        frames: list[np.ndarray] = []
        for frame in read_frames(entry):
            frames.append(backbone.prepare(frame))
            report(1)
            if len(frames) == self.frames:
                batch.append(frames)
                frames = []
            if len(batch) == self.config.batch_size:
                yield batch
                batch = []
        if entry.num_frames < self.frames:
            batch.append(frames + frames[-1:] * (self.frames - len(frames)))
        if batch:
            yield batch


def feature_file(root: Path, entry: VideoEntry) -> Path:
    """Where a video's features lie: ``data/NAME/features/SPLIT/VIDEO.npy``."""
    return Path(root) / "features" / entry.split / f"{entry.name}.npy"


def find_unfinished(
    root: Path, entries: list[VideoEntry], settings: dict[str, Any], overwrite: bool
) -> list[VideoEntry]:
    """The videos without features; the settings of each split's folder are checked and noted.

    With ``overwrite`` existing features are removed first.

    Raises:
        UserError: a folder holds features made with other settings.
    """
    if overwrite:
        for entry in entries:
            feature_file(root, entry).unlink(missing_ok=True)
    unfinished = [entry for entry in entries if not feature_file(root, entry).exists()]
    for folder in {feature_file(root, entry).parent for entry in entries}:
        noted = read_settings(folder)
        if any(folder.glob("*.npy")):
            _require_same_settings(noted, settings, folder)
        write_json(folder / SETTINGS_FILE, {"format_version": FORMAT_VERSION, **settings})
    return unfinished


def _require_same_settings(old: dict[str, Any] | None, new: dict[str, Any], folder: Path) -> None:
    if old is None:
        raise UserError(
            f"{folder}: features there are from elsewhere (no {SETTINGS_FILE}), and new ones must "
            "not be mixed with them; move them away, or set another data.root"
        )
    changed = [
        f"{key} {old.get(key)!r}, now {new[key]!r}" for key in new if old.get(key) != new[key]
    ]
    if changed:
        raise UserError(
            f"{folder}: features there were made with other settings: {'; '.join(changed)}; "
            "pass --overwrite to replace them, or set another data.root"
        )
