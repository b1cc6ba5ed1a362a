"""What the plain side of the benchmarks does, a method a row; see ``benchmarks.worker``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import timed, timed_again
from benchmarks.our_tasks import BATCHES, inputs, new_model
from benchmarks.plain.cubes import plain_loader, write_chunk
from benchmarks.plain.extraction import extract_frames, write_cubes, write_flows
from benchmarks.plain.training import PlainModel, PlainTrainer, plain_errors, plain_flow_errors
from benchmarks.scene import write_video_set
from engine.scoring.network import random_cubes
from pre_process.detectors.box_files import box_file, load_boxes
from published.state_dict_keys import to_published


class PlainTasks:
    """As ``benchmarks.our_tasks.OurTasks``, in the plainest way."""

    def __init__(self, device: str, folder: Path, sizes: dict[str, int]) -> None:
        self.device, self.folder, self.sizes = torch.device(device), folder, sizes
        self._trainers: dict[str, PlainTrainer] = {}
        self._prepared: dict[str, Any] = {}

    def step(self, stage: str) -> dict[str, float]:
        """One optimizer step of the published model."""
        batch = self._inputs(BATCHES[stage])
        if stage not in self._trainers:
            self._trainers = {stage: PlainTrainer(self._new_model(), stage)}
        return timed_again(self.device, lambda: self._trainers[stage].step(*batch))

    def score(self, what: str) -> dict[str, float]:
        """Errors of 128 cubes: ``full`` model or ``stage1``."""
        if "model" not in self._prepared:
            self._prepared["model"] = self._new_model()
        model = self._prepared["model"]
        frames, flows = self._inputs(128)
        if what == "full":
            return timed_again(self.device, lambda: plain_errors(model, frames, flows))
        return timed_again(self.device, lambda: plain_flow_errors(model, flows))

    def load(self) -> dict[str, float]:
        """All cubes of a chunk in random order, converted."""
        count = min(self.sizes["cubes"], 4096)
        if "loader" not in self._prepared:
            path = self.folder / "chunked_samples_00.pkl"
            write_chunk(path, *random_cubes(count, 1))
            self._prepared["loader"] = plain_loader(path, 256)
        result = timed(
            self.device, lambda: sum(len(batch[0]) for batch in self._prepared["loader"])
        )
        return {**result, "count": count}

    def extract(self, width: int, height: int, preset: str) -> dict[str, float]:
        """Two passes over one video, from its frames; their time and disk."""
        folder, count = self.folder / f"plain {width}x{height}", self.sizes["frames"]
        if not folder.exists():
            dataset = write_video_set(folder, count, width, height)
            entry = dataset.entries[0]
            frames = extract_frames(entry.source, folder / "frames", count)
            self._prepared[folder] = frames, load_boxes(box_file(folder, entry), count)
        frames, boxes = self._prepared[folder]
        flows, chunk = folder / "flows", folder / "chunk.pkl"
        first = timed(self.device, lambda: write_flows(frames, flows, preset))["seconds"]
        second = timed(self.device, lambda: write_cubes(frames, flows, boxes, chunk))["seconds"]
        written = [*flows.iterdir(), chunk]
        return {
            "seconds": first + second,
            "seconds_flow": first,
            "seconds_cubes": second,
            "count": count,
            "bytes": sum(path.stat().st_size for path in written),
        }

    def _new_model(self) -> PlainModel:
        ours = new_model()
        sizes = {"nf_max": 128, "nf_start": 64, "dropout": 0.1}
        memae = {
            "feature_root": 32, "num_slots": 2000, "shrink_threshold": 0.0005,
            "mem_usage": [False, True, True, True], "skip_ops": ["none", "concat", "concat"],
        }  # fmt: skip
        plain = PlainModel(memae, sizes)
        plain.load_state_dict(to_published(ours.state_dict()))
        return plain.to(self.device)

    def _inputs(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames, flows = inputs(count, self.device)
        return frames.contiguous(), flows.contiguous()
