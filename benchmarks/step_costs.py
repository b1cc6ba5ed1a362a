"""What a training step, a clip and a frame cost: floating-point operations, and time on one core.

python -m benchmarks.step_costs --threads 1
python -m benchmarks.step_costs --threads 1 --steps

The published model sizes, on made-up data. benchmarks/scale_estimate.py is fed with these numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.our_tasks import BATCHES, OurTasks
from datasets.manifest import DataSet, VideoEntry
from datasets.videos import read_frames
from losses.frd import frd_loss
from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.frd.frd import FRD
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from pre_process.cubes.extractor import build_extractor
from pre_process.features.i3d import I3DResNet50
from utils.config.hf2vad import (
    CVAEStageConfig,
    FinetuneStageConfig,
    MemAEStageConfig,
    PreProcessConfig,
)

ITEMS = 8


def cost(step: Callable[[], Any]) -> tuple[float, float]:
    """Giga-operations (a multiplication and an addition are two) and seconds of one call."""
    step()
    with FlopCounterMode(display=False) as counter:
        step()
    start = time.perf_counter()
    step()
    return counter.get_total_flops() / 1e9, time.perf_counter() - start


def row(name: str, network: nn.Module, loss: Callable[[], torch.Tensor], items: int) -> None:
    """Print the cost of one item, forward and backward where the loss has a gradient."""

    def step() -> None:
        value = loss()
        if value.requires_grad:
            value.backward()

    operations, seconds = cost(step)
    size = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    print(
        f"{name:28s} {operations / items:9.3f} GFLOP {1000 * seconds / items:9.1f} ms an item, "
        f"{size:6.1f} M trainable"
    )


def networks() -> None:
    """Costs of the published networks."""
    frames, flows = torch.rand(ITEMS, 15, 32, 32), torch.randn(ITEMS, 8, 32, 32)
    memae, whole = MLMemAESC(), build_hf2vad({}, {})
    last = flows[:, -2:]

    def stage1() -> torch.Tensor:
        return memae_loss(memae(last), last, MemAEStageConfig())["total"]

    def stage2() -> torch.Tensor:
        return cvae_loss(whole(frames, flows, flows), CVAEStageConfig())["total"]

    def stage3() -> torch.Tensor:
        return finetune_loss(whole(frames, flows), flows, FinetuneStageConfig())["total"]

    row("stage 1, cube", memae, stage1, ITEMS)
    row("stage 3, cube", whole, stage3, ITEMS)
    whole.freeze_memae()
    row("stage 2, cube, flow cached", whole, stage2, ITEMS)
    whole.eval().requires_grad_(False)
    row("scoring, cube", whole, lambda: whole(frames, flows)["frame_pred"].sum(), ITEMS)
    features, frd = torch.randn(ITEMS, 10, 4, 2048), FRD()
    row("frd, item of 4 x 10", frd, lambda: frd_loss(frd(features), features)[0]["total"], ITEMS)
    clip, i3d = torch.randn(1, 3, 16, 224, 224), I3DResNet50().eval().requires_grad_(False)
    row("i3d_r50, clip of one crop", i3d, lambda: i3d(clip).sum(), 1)


def steps() -> None:
    """Processor time of a whole training step, published sizes, float32; the second of two."""
    tasks = OurTasks("cpu", Path(), {})
    for stage, batch_size in BATCHES.items():
        step = tasks.build_step(stage)
        step()
        start = time.process_time()
        step()
        print(f"{stage}: {time.process_time() - start:.2f} s of processor time for {batch_size}")


def frame(width: int, height: int, count: int = 60) -> None:
    """Cost of a frame: read from a compressed video; and with boxes by motion and DIS flow."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (width, height)
        )  # fmt: skip
        ground = cv2.blur(
            np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8), (9, 9)
        )
        for time_step in range(count):
            picture = ground.copy()
            for person in range(8):
                left = (40 * person + (2 + person % 3) * time_step) % (width - 40)
                top = 20 + (height - 120) * person // 8
                picture[top : top + 80, left : left + 30] = 255 - 20 * person
            writer.write(picture)
        writer.release()
        entry = VideoEntry("v", "training", path, "video", 0, count, width, height)
        start = time.process_time()
        read = sum(1 for _ in read_frames(entry))
        reading = time.process_time() - start
        extractor = build_extractor(PreProcessConfig(), DataSet(Path(folder), "d", (entry,)), 8)
        extractor.start(entry)
        start = time.process_time()
        found = [cubes for each in read_frames(entry) for cubes in extractor.push(each)]
        found += extractor.flush()
        seconds = time.process_time() - start
    boxes = sum(len(each.boxes) for each in found) / count
    print(
        f"frame of {width}x{height}: read {1000 * reading / read:.1f} ms; all of extraction "
        f"{1000 * seconds / count:.1f} ms with {boxes:.1f} boxes a frame"
    )


def main() -> None:
    """Print the costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="cores to use")
    parser.add_argument("--steps", action="store_true", help="whole training steps alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    if arguments.steps:
        return steps()
    networks()
    frame(856, 480)
    frame(320, 240)


if __name__ == "__main__":
    main()
