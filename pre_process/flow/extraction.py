"""Flow of whole data sets on disk, for those who want it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cubes.settings import changed_settings
from datasets.manifest import DataSet, VideoEntry
from datasets.videos import read_frames
from pre_process.cluster import Task
from pre_process.flow.base import FlowEstimator, flow_file
from pre_process.flow.build import build_flow
from utils.config.hf2vad import PreProcessConfig
from utils.files import atomic_path, read_json, write_json
from utils.npy_writer import NpyWriter


@dataclass(frozen=True)
class FlowJob:
    """Flow of one data set: call it in each process to get that process's task."""

    config: PreProcessConfig
    dataset: DataSet
    settings: dict[str, Any]

    def __call__(self) -> Task:
        """Build the estimator once; the task writes one video's flow, and then its settings."""
        estimator = build_flow(self.config, self.dataset)
        batch_size = self.config.flow.batch_size

        def estimate(entry: VideoEntry, report: Callable[[int], None]) -> None:
            path = flow_file(self.dataset.root, entry)
            path.with_suffix(".json").unlink(missing_ok=True)
            with (
                atomic_path(path) as temporary,
                NpyWriter(temporary, (entry.height, entry.width, 2), "<f2") as array,
            ):
                for flow in flow_of_video(estimator, entry, batch_size):
                    array.append(flow[None])
                    report(1)
            write_json(path.with_suffix(".json"), self.settings)

        return estimate

    def product(self, entry: VideoEntry) -> Path:
        """The file that appears when a video is finished."""
        return flow_file(self.dataset.root, entry).with_suffix(".json")

    def changes(self, entry: VideoEntry) -> list[str] | None:
        """Settings that finished flow was made with otherwise; ``None``: there is no flow."""
        path = self.product(entry)
        return changed_settings(read_json(path), self.settings) if path.is_file() else None


def flow_of_video(
    estimator: FlowEstimator, entry: VideoEntry, batch_size: int
) -> Iterator[np.ndarray]:
    """The flow of every frame, (H,W,2) float32 pixels; that of the first frame is zero."""
    estimator.start(entry)
    waiting: list[np.ndarray] = []
    for frame in read_frames(entry):
        if not waiting:
            yield np.zeros((*frame.shape[:2], 2), np.float32)
        waiting.append(frame)
        if len(waiting) > batch_size:
            yield from estimator(waiting[:-1], waiting[1:])
            waiting = waiting[-1:]
    if len(waiting) > 1:
        yield from estimator(waiting[:-1], waiting[1:])


def flow_bytes(entries: list[VideoEntry]) -> int:
    """Disk that the flow of ``entries`` needs."""
    return sum(entry.num_frames * entry.height * entry.width * 4 for entry in entries)
