"""What our side of the benchmarks does, a method a row; see ``benchmarks.worker``."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import matmul_rate_now, timed, timed_again
from benchmarks.scene import write_video_set
from datasets.cubes.dataset import CubeSet
from datasets.cubes.files import write_cubes
from datasets.cubes.loader import CubeLoader, to_network_inputs
from datasets.manifest import DataSet, VideoEntry
from engine.optimizer import adam
from engine.scoring.build import flow_reconstructor, model_scorer
from engine.scoring.network import random_cubes
from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from pre_process.cubes.extraction import write_video_cubes
from pre_process.cubes.extractor import CubeExtractor, build_extractor
from utils.config.hf2vad import PreProcessConfig
from utils.config.load import load_config
from utils.runtime import autocast, pick_device

ROOT = Path(__file__).resolve().parent.parent
BATCHES = {"stage1": 256, "stage2": 128, "stage3": 128}
BLOCKS = {"stage1": "ml_memae_sc", "stage2": "cvae", "stage3": "finetune"}


class OurTasks:
    """Timed work; every method returns ``seconds`` and what it counted.

    Args:
        device: ``cpu`` or ``cuda``.
        folder: for files.
        sizes: ``cubes`` of the loader's set and ``frames`` of each video.
        precision: ``fp32`` or ``bf16``, of steps and scoring.
    """

    def __init__(
        self, device: str, folder: Path, sizes: dict[str, int], precision: str = "fp32"
    ) -> None:
        self._precision = precision
        self.device, self.folder, self.sizes = pick_device(device), folder, sizes
        self._steps: dict[str, Callable[[], None]] = {}
        self._prepared: dict[str, Any] = {}

    def step(self, stage: str) -> dict[str, float]:
        """One optimizer step of the published model, and the matrix-product rate right after it."""
        if stage not in self._steps:
            self._steps = {stage: self.build_step(stage)}  # the last stage's memory is freed
        result = timed_again(self.device, self._steps[stage])
        return {**result, "matmul_gflops": matmul_rate_now(self.device)}

    def count_flops(self, stage: str) -> dict[str, float]:
        """Floating-point operations of one step, counted."""
        with FlopCounterMode(display=False) as counter:
            self.build_step(stage)()
        return {"flops": counter.get_total_flops()}

    def score(self, what: str, precision: str = "") -> dict[str, float]:
        """Errors of 128 cubes (``full`` model or ``stage1``), in ``precision`` or this side's."""
        precision = precision or self._precision
        key = f"score {what} {precision}"
        if key not in self._prepared:
            model = new_model().eval()
            network = model if what == "full" else model.memae
            self._prepared[key] = model_scorer(network, self.device, precision=precision)
        scorer, cubes = self._prepared[key], random_cubes(128, seed=0)
        return timed_again(self.device, lambda: scorer(*cubes))

    def describe_normal(self, what: str) -> dict[str, float]:
        """What training does once at its end, in float32: errors of 128 training or test cubes."""
        return self.score(what, "fp32")

    def reconstruct_flows(self) -> dict[str, float]:
        """What stage 2 does once for each cube: 128 cubes through the frozen autoencoder."""
        if "memae" not in self._prepared:
            memae = new_model().memae.eval()
            self._prepared["memae"] = flow_reconstructor(memae, self.device)
        flows = inputs(128, self.device)[1]
        return timed_again(self.device, lambda: self._prepared["memae"](flows))

    def load(self) -> dict[str, float]:
        """All cubes in random order, and what their conversion adds."""
        if "cubes" not in self._prepared:
            self._prepared["cubes"] = write_cube_set(self.folder / "cubes", self.sizes["cubes"])
            self._read_all()
        gathering = timed(self.device, self._read_all)["seconds"]
        batch = next(iter(CubeLoader(self._prepared["cubes"], 256)))
        converting = timed(
            self.device, lambda: to_network_inputs(batch.appearance, batch.motion, self.device)
        )["seconds"]
        count = len(self._prepared["cubes"])
        return {
            "seconds": gathering,
            "count": count,
            "seconds_converted": gathering + converting * count / 256,
        }

    def _read_all(self) -> None:
        for _ in CubeLoader(self._prepared["cubes"], 256, shuffle=True).epoch(0):
            pass

    def extract(self, width: int, height: int, preset: str) -> dict[str, float]:
        """Two videos in two processes that are there already; their memory, and disk a frame."""
        name = f"video {width}x{height} {preset}"
        if name not in self._prepared:
            frames = self.sizes["frames"]
            dataset = write_video_set(self.folder / name, frames, width, height)
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(
                2, context, start_worker, (dataset, preset)
            )
            list(pool.map(extract_video, dataset.entries))
            self._prepared[name] = dataset, pool
        dataset, pool = self._prepared[name]
        start = time.perf_counter()
        peaks = list(pool.map(extract_video, dataset.entries))
        seconds = time.perf_counter() - start
        files = [path for path in (dataset.root / "cubes").rglob("*") if path.is_file()]
        return {
            "seconds": seconds,
            "count": 2 * self.sizes["frames"],
            "bytes": sum(path.stat().st_size for path in files),
            "peak_bytes": max(peaks),
        }

    def build_step(self, stage: str) -> Callable[[], None]:
        """One optimizer step of ``stage1``, ``stage2`` or ``stage3`` on made-up inputs."""
        model, settings = new_model().train().to(self.device), getattr(_config(), BLOCKS[stage])
        frames, flows = inputs(BATCHES[stage], self.device)
        flow_recon = None
        if stage == "stage2":
            model.freeze_memae()
            flow_recon = flows.clone()  # kept from the first epoch on
        last = flows[:, -2:].contiguous(memory_format=torch.channels_last)
        trained = model.memae if stage == "stage1" else model
        optimizer = adam(trained.parameters(), settings, self.device)

        def loss() -> torch.Tensor:
            if stage == "stage1":
                return memae_loss(model.memae(last), last, settings)["total"]
            output = model(frames, flows, flow_recon)
            if stage == "stage2":
                return cvae_loss(output, settings)["total"]
            return finetune_loss(output, flows, settings)["total"]

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with autocast(self.device, self._precision):
                total = loss()
            total.backward()
            optimizer.step()

        return step


def new_model() -> HF2VAD:
    """The published model with fixed random weights."""
    torch.manual_seed(0)
    config = _config()
    return build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())


def inputs(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Network inputs of made-up cubes."""
    return to_network_inputs(*map(torch.from_numpy, random_cubes(count, 0)), device)


def write_cube_set(folder: Path, count: int) -> CubeSet:
    """Made-up cubes of eight videos."""
    appearance, motion = random_cubes(count // 8, 1)
    boxes = np.zeros((count // 8, 4), np.float32)
    names = [f"{number:02d}" for number in range(8)]
    for name in names:
        about = {"num_frames": count, "width": 360, "height": 240, "settings": {}}
        with write_cubes(folder / "cubes" / "training" / name, about) as writer:
            writer.append(0, boxes, appearance, motion)
    return CubeSet.open(folder, "training", names)


_extractor: CubeExtractor
_dataset: DataSet


def start_worker(dataset: DataSet, preset: str) -> None:
    """In each process of the pool, once."""
    global _extractor, _dataset
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _extractor, _dataset = build_extractor(boxes_given(preset), dataset, 8), dataset


def boxes_given(preset: str) -> PreProcessConfig:
    """Boxes from a file, DIS flow."""
    boxes = {"backend": "file", "moving_regions": {"enabled": False}}
    return PreProcessConfig.model_validate({"boxes": boxes, "flow": {"preset": preset}})


def extract_video(entry: VideoEntry) -> int:
    """Write a video's cubes; returns this process's largest memory so far, bytes."""
    write_video_cubes(_extractor, _dataset.root, entry, {})
    # Not getrusage: a new process begins there with the peak of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _config() -> Any:
    return load_config(ROOT / "cfgs" / "ped2.yaml", [], "hf2vad")
