"""The machine a benchmark ran on, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from utils.runtime import provenance

SIZE = 2048


def describe_machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Processor, versions, threads, and GFLOP/s of a square matrix product."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "platform": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        **provenance(),
        "matmul_gflops": matmul_rate(device, torch.float32),
        "matmul_gflops_bf16": matmul_rate(device, torch.bfloat16),
    }


def timed(device: torch.device, work: Callable[[], Any]) -> dict[str, float]:
    """``seconds`` that ``work`` takes on ``device``, from an idle device to an idle device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return {"seconds": time.perf_counter() - start}


def timed_again(device: torch.device, work: Callable[[], Any]) -> dict[str, float]:
    """As :func:`timed`, but of the second of two runs in a row.

    While the other side works, the system may take back memory that this side has freed; the first
    run pays for getting it again, which steps that follow one another, as in training, do not.
    """
    work()
    return timed(device, work)


def matmul_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.5) -> float:
    """GFLOP/s of a 2048 x 2048 product: the best of many, so that other programs matter little."""
    return _as_rate(min(_product_times(device, dtype, seconds)))


def matmul_rate_now(device: torch.device, seconds: float = 0.5) -> float:
    """GFLOP/s of a float32 product now, the median of some: clocks and hosts vary."""
    return _as_rate(statistics.median(_product_times(device, torch.float32, seconds)))


def _product_times(device: torch.device, dtype: torch.dtype, seconds: float) -> list[float]:
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        times.append(timed(device, lambda: a @ b)["seconds"])
    return times


def _as_rate(seconds: float) -> float:
    return round(2 * SIZE**3 / seconds / 1e9, 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
