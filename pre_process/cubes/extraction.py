"""Cubes of whole data sets: the work on one video, checks, the disk it will take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.cubes.files import (
    BYTES_PER_CUBE,
    NUM_FRAMES,
    read_manifest,
    verify_checksums,
    write_cubes,
)
from datasets.cubes.settings import changed_settings
from datasets.manifest import SPLITS, DataSet, VideoEntry
from datasets.videos import read_frames
from pre_process.cluster import Task
from pre_process.cubes.extractor import CubeExtractor, build_extractor
from pre_process.cubes.settings import source_fingerprint
from pre_process.detectors.build import build_box_source
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError

_SAMPLED_FRAMES = 16


@dataclass(frozen=True)
class CubeJob:
    """Cube extraction of one data set: call it in each process to get that process's task."""

    config: PreProcessConfig
    dataset: DataSet
    settings: dict[str, Any]

    def __call__(self) -> Task:
        """Build the extractor once; the task writes one video's cubes."""
        batch_size = max(self.config.boxes.batch_size, self.config.flow.batch_size)
        extractor = build_extractor(self.config, self.dataset, batch_size)

        def extract(entry: VideoEntry, report: Callable[[int], None]) -> None:
            write_video_cubes(extractor, self.dataset.root, entry, self.settings, report)

        return extract

    def product(self, entry: VideoEntry) -> Path:
        """The folder that appears when a video is finished."""
        return cube_folder(self.dataset.root, entry)

    def changes(self, entry: VideoEntry) -> list[str] | None:
        """What finished cubes were made with otherwise; ``None``: there are no cubes."""
        manifest = read_manifest(self.product(entry))
        if manifest is None:
            return None
        is_same_video = manifest.get("source") == source_fingerprint(entry)
        changes = changed_settings(manifest["settings"], self.settings)
        return changes if is_same_video else [*changes, "the video itself"]


def cube_folder(root: Path, entry: VideoEntry) -> Path:
    """Where a video's cubes lie: ``data/NAME/cubes/SPLIT/VIDEO``."""
    return Path(root) / "cubes" / entry.split / entry.name


def write_video_cubes(
    extractor: CubeExtractor,
    root: Path,
    entry: VideoEntry,
    settings: dict[str, Any],
    report: Callable[[int], None] = lambda frames: None,
) -> None:
    """Extract one video's cubes to ``data/NAME/cubes``; all of them appear or none.

    Args:
        extractor: built once, used for video after video.
        root: the data set's folder.
        entry: the video.
        settings: what ``cube_settings`` gave; kept in the manifest.
        report: called with the number of frames read since the last call.

    Raises:
        UserError: unreadable video or missing inputs of a backend.
        OSError: the disk is full.
    """
    description = {
        "video": entry.name,
        "split": entry.split,
        "num_frames": entry.num_frames,
        "width": entry.width,
        "height": entry.height,
        "source": source_fingerprint(entry),
        "settings": settings,
    }
    extractor.start(entry)
    with write_cubes(cube_folder(root, entry), description) as writer:
        for frame in read_frames(entry):
            for cubes in extractor.push(frame):
                writer.append(cubes.index, cubes.boxes, cubes.appearance, cubes.motion)
            report(1)
        for cubes in extractor.flush():
            writer.append(cubes.index, cubes.boxes, cubes.appearance, cubes.motion)


def verify_cubes(dataset: DataSet) -> int:
    """Compare every byte of all finished cubes with their checksums; how many videos that are.

    Raises:
        UserError: naming the first file that differs, and what to do.
    """
    finished = 0
    for entry in dataset.entries:
        folder = cube_folder(dataset.root, entry)
        manifest = read_manifest(folder)
        if manifest is not None:
            verify_checksums(folder, manifest)
            finished += 1
    return finished


def require_long_enough(dataset: DataSet) -> None:
    """Refuse videos that are shorter than a cube.

    Raises:
        UserError: naming all of them.
    """
    short = [each for each in dataset.entries if each.num_frames < NUM_FRAMES]
    if short:
        names = ", ".join(f"{each.split}/{each.name} ({each.num_frames})" for each in short)
        raise UserError(
            f"{dataset.root}: videos shorter than {NUM_FRAMES} frames: {names}; remove them and "
            "run pre_process/prepare_dataset.py again"
        )


def estimate_cube_bytes(
    config: PreProcessConfig, dataset: DataSet, entries: Sequence[VideoEntry]
) -> int:
    """Disk that the cubes of ``entries`` will need.

    Exact where boxes come from a file; elsewhere the detector sees the first frames of the longest
    video of each split.
    """
    source = build_box_source(config, dataset)
    total = 0.0
    for split in SPLITS:
        videos = [entry for entry in entries if entry.split == split]
        if videos:
            total += _count_cubes(config, source, videos)
    return int(total * BYTES_PER_CUBE)


def _count_cubes(config: PreProcessConfig, source: Any, videos: Sequence[VideoEntry]) -> float:
    if config.boxes.backend == "file":
        return sum(len(each) for entry in videos for each in source.detector.boxes_of(entry))
    longest = max(videos, key=lambda entry: entry.num_frames)
    source.start(longest)
    stream = read_frames(longest)
    frames = [frame for frame, _ in zip(stream, range(_SAMPLED_FRAMES), strict=False)]
    boxes = source(frames, None)
    total_frames = sum(entry.num_frames for entry in videos)
    return total_frames * sum(map(len, boxes)) / max(1, len(boxes))
