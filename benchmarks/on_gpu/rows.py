"""The rows of ``benchmarks.gpu``: each part times something on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu.networks import (
    SETTINGS,
    Sizes,
    computing_in,
    cubes,
    frd_inputs,
    new_model,
    plain_trainer,
    precisions_of,
    stage_step,
)
from benchmarks.on_gpu.operations import frd_operations, stage_operations
from datasets.cubes.resident import ResidentLoader
from engine.compiled import compile_network
from engine.scoring.network import TorchScorer, random_cubes
from losses.frd_step import FRDStep
from models.flownet2.flownet2 import FlowNet2
from models.frd.frd import FRD
from utils.transfer import pin, send

Rows = Iterator["Row"]


class Row(NamedTuple):
    """A line of the table; of times fewer are better, of rates more."""

    name: str
    precision: str
    ours: float
    unit: str
    plain: float | None = None
    ratio: float | None = None
    note: str = ""


def seconds_of(work: Callable[[], Any], device: torch.device, at_least: float) -> float:
    """Mean seconds of ``work`` in a row of runs that takes ``at_least`` seconds, after warm-up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(3 if at_least else 1):
        work()
    wait()
    done, start = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - start < at_least:
        for _ in range(5 if at_least else 1):
            work()
        wait()
        done += 5 if at_least else 1
    return (time.perf_counter() - start) / done


def peaks(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """Large products in each precision, and copies: the bounds of all else."""
    for precision in precisions_of(device):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(sizes.product, sizes.product, device=device).to(kind) for _ in "ab")
        with computing_in(device, precision):
            seconds = seconds_of(lambda a=a, b=b: a @ b, device, sizes.seconds / 2)
        yield Row("product", precision, 2 * sizes.product**3 / seconds / 1e12, "TFLOP/s")
    source = torch.empty(sizes.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), device, sizes.seconds / 2)
    yield Row("copy", "", 2 * sizes.copied / seconds / 1e9, "GB/s", note="read and written")
    on_host = pin(torch.empty(sizes.copied // 8, dtype=torch.uint8))
    seconds = seconds_of(lambda: send(on_host, device), device, sizes.seconds / 4)
    yield Row("host to device", "", len(on_host) / seconds / 1e9, "GB/s", note="pinned")


def steps(sizes: Sizes, device: torch.device, before: list[Row]) -> Rows:
    """Optimizer steps: plain in float32 and TF32, ours in every precision."""
    for stage, batch in sizes.batches.items():
        given = [each.contiguous() for each in cubes(batch, device, 0)]
        plain = {}
        for precision in precisions_of(device)[:2]:
            work = partial(plain_trainer(sizes, stage, device).step, *given)
            with computing_in(device, precision):
                plain[precision] = seconds_of(work, device, sizes.seconds)
        with FlopCounterMode(display=False) as counter:
            stage_step(sizes, stage, device, "fp32")()
        operations = counter.get_total_flops()
        variants = [(each, False) for each in precisions_of(device)]
        for precision, usual_layout in [*variants, (variants[-1][0], True)]:
            step = stage_step(sizes, stage, device, precision, usual_layout)
            ours = seconds_of(step, device, sizes.seconds)
            # bfloat16 beside the fastest plain one
            beside = plain.get(precision) or min(plain.values())
            rate = operations / ours / 1e12
            note = f"{rate:.3g} TFLOP/s{_share(rate, precision, before)}"
            note += ", weights not channels-last" if usual_layout else ""
            yield Row(
                f"step of {batch}, {stage}", precision, 1000 * ours, "ms", 1000 * beside,
                beside / ours, note,
            )  # fmt: skip


def scoring(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """Cubes a second by the full model, from stored cubes on the host and on the device."""
    model = new_model(sizes).eval()
    for precision in precisions_of(device):
        scorer = TorchScorer(model, device, "bf16" if precision == "bf16" else "fp32")
        for count in sizes.scored:
            given = random_cubes(count, 0)
            resident = [torch.from_numpy(each).to(device) for each in given]
            for place, batch in (("host", given), ("device", resident)):
                with computing_in(device, precision):
                    seconds = seconds_of(
                        lambda scorer=scorer, batch=batch: scorer(*batch), device, sizes.seconds / 4
                    )
                name = f"scoring {count} cubes, from the {place}"
                yield Row(name, precision, count / seconds, "cubes/s")


def loading(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """An epoch of batches gathered on the device, with the cubes of Ped2."""
    loader = ResidentLoader(_MadeUp(sizes.resident), 128, device, shuffle=True)

    def epoch() -> None:
        for _ in loader.epoch(0):
            pass

    seconds = seconds_of(epoch, device, sizes.seconds / 2)
    yield Row("gathering on the device", "", sizes.resident / seconds, "cubes/s")


def optical_flow(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """FlowNet2 and, where torchvision is, RAFT, on pairs of frames of one size."""
    height, width = sizes.frame
    frames = torch.randint(0, 256, (sizes.pairs, 3, 2, height, width), device=device)
    networks: dict[str, Callable[[], Any]] = {}
    flownet2 = FlowNet2().to(device).eval()
    networks["FlowNet2"] = lambda: flownet2(frames.to(torch.uint8))
    missing = ""
    try:
        from torchvision.models.optical_flow import raft_large, raft_small

        side = (max(height, 128), max(width, 128))
        pair = torch.rand(2, sizes.pairs, 3, *side, device=device) * 2 - 1
        for name, build in (("RAFT small", raft_small), ("RAFT large", raft_large)):
            raft = build(weights=None).to(device).eval()
            networks[name] = lambda raft=raft: raft(*pair)[-1]
    except ImportError as error:
        missing = str(error)
    for name, run in networks.items():
        for precision in precisions_of(device):
            with torch.inference_mode(), computing_in(device, precision):
                seconds = seconds_of(run, device, sizes.seconds / 2)
            note = f"{width}x{height}, {sizes.pairs} pairs"
            yield Row(name, precision, sizes.pairs / seconds, "frames/s", note=note)
    if missing:
        raise ImportError(missing)


def frd(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """FRD-UVAD's steps from batches in float16 on the host, the bank full."""
    for precision in precisions_of(device):
        model, step, rows, features = frd_inputs(sizes, device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS.lr, fused=True)

        def train(
            precision: str = precision, model: FRD = model, step: FRDStep = step,
            optimizer: torch.optim.Optimizer = optimizer, rows: Tensor = rows,
            features: Tensor = features,
        ) -> None:  # fmt: skip
            optimizer.zero_grad(set_to_none=True)
            with computing_in(device, precision):
                total = step(model, rows, send(features, device).float())["total"]
            total.backward()
            optimizer.step()

        seconds = seconds_of(train, device, sizes.seconds)
        note = f"{features.nbytes / 1e6:.0f} MB a step from the host"
        yield Row(f"FRD step of {len(rows)}", precision, 1000 * seconds, "ms", note=note)


def operations(sizes: Sizes, device: torch.device, _: list[Row]) -> Rows:
    """Operations that a step starts, on small batches: their number is that of any batch."""
    small = replace(sizes, frd=(6, 2, *sizes.frd[2:]))
    for precision in precisions_of(device):
        for name in (*sizes.batches, "FRD"):
            counted = (
                frd_operations(small, device, precision)
                if name == "FRD"
                else stage_operations(small, name, device, precision)
            )
            note = f"{counted.forward} forward, {counted.backward} backward"
            yield Row(f"operations of a step, {name}", precision, sum(counted), "", note=note)


def compiled(sizes: Sizes, device: torch.device, before: list[Row]) -> Rows:
    """Steps with ``run.compile=on`` beside those without; the last part, for compiling is slow."""
    if device.type != "cuda":
        return
    for stage in ("stage2", "stage1", "stage3"):
        alike = f"step of {sizes.batches[stage]}, {stage}"
        start = time.perf_counter()
        step = stage_step(
            sizes, stage, device, "bf16", compiled=lambda network: compile_network(network, device)
        )
        step()
        spent = time.perf_counter() - start
        ours = 1000 * seconds_of(step, device, sizes.seconds)
        eager = next((r.ours for r in before if (r.name, r.precision) == (alike, "bf16")), None)
        note = f"compiled in {spent:.0f} s; beside: ours, not compiled"
        yield Row(alike, "bf16", ours, "ms", eager, eager and eager / ours, note)


class _MadeUp:
    """Cubes of noise, all of them copies of a few."""

    def __init__(self, count: int) -> None:
        self._count, self._few = count, random_cubes(min(count, 64), 0)

    def __len__(self) -> int:
        return self._count

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        appearance, motion = (each[indices % len(each)] for each in self._few)
        return appearance, motion


def _share(rate: float, precision: str, rows: list[Row]) -> str:
    peak = next((r.ours for r in rows if (r.name, r.precision) == ("product", precision)), None)
    return f", {rate / peak:.0%} of the product's" if peak else ""


PARTS: dict[str, Callable[[Sizes, torch.device, list[Row]], Rows]] = {
    "peaks": peaks,
    "operations": operations,
    "steps": steps,
    "scoring": scoring,
    "loading": loading,
    "frd": frd,
    "flow": optical_flow,
    "compiled": compiled,
}
