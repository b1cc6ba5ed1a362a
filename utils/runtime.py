"""Devices, seeds, random states and provenance."""

from __future__ import annotations

import ctypes
import gc
import logging
import platform
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils import distributed

logger = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a GPU that is not there gives the CPU.

    Processes that a launcher started on one machine get a GPU each, while there are some.
    Where it is the CPU, freed memory is kept from then on: :func:`keep_freed_memory`. Float32
    products of a GPU are float32 from then on: :func:`use_tf32`.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and distributed.local_count() > 1 and torch.cuda.is_available():
        device = torch.device("cuda", distributed.local_index() % torch.cuda.device_count())
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        logger.warning("device %s is not there; using the CPU", name)
        device = torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    else:
        use_tf32(False)  # training alone may ask for it
    return device


@contextmanager
def old_objects_set_aside() -> Iterator[None]:
    """Spare the garbage collector the libraries' million objects, so that collecting takes no time.

    Without this it hardly ever looks for the report's drawings, which are garbage in circles.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_freed_memory() -> None:
    """Have the C library keep large freed buffers for the next step (Linux with glibc).

    By default it hands every buffer above 32 MB back to the system, and each training step
    faults all its pages in again: a third of a step's time on a CPU. Memory stays at the peak.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names of malloc.h
    library = ctypes.CDLL(None)
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)
    library.mallopt(top_pad, 64 * 2**20)


def in_device_layout(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """``model`` with the weights of convolutions in the memory layout that suits ``device``.

    A GPU computes with those of the activations' layout (channels-last), and would rearrange others
    in each call; a CPU rearranges all of them anyway.
    """
    if device.type == "cuda":
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)
    return model


def use_tf32(enabled: bool) -> None:
    """Whether GPUs may round the factors of float32 products to 10 bits (TF32), which is faster.

    Without this call torch does so in convolutions and not in matrix products.
    """
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside, float32 products of GPUs are float32, whatever ``use_tf32`` said."""
    before = torch.backends.cudnn.allow_tf32
    use_tf32(False)
    try:
        yield
    finally:
        use_tf32(before)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which networks compute in ``precision``, ``fp32`` or ``bf16``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_by_rank(*numbers: int) -> None:
    """Give each process random numbers of its own; those of rank 0 stay as they are."""
    if not distributed.is_first():
        mixed = np.random.SeedSequence([*numbers, distributed.index()]).generate_state(1)
        torch.manual_seed(int(mixed[0]))


def random_states() -> dict[str, Any]:
    """The torch random states that training draws from (others are not used in training)."""
    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo ``random_states``; GPU states are restored when as many GPUs are there."""
    torch.set_rng_state(states["torch"])
    saved = states.get("cuda", [])
    if torch.cuda.is_available() and len(saved) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved)


def git_revision() -> str:
    """Short revision of this checkout, ``-dirty`` when it has changes, or ``unknown``."""
    root = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip() or "unknown"


def provenance() -> dict[str, str]:
    """Where a result comes from: code revision and the versions that matter."""
    import cv2

    return {
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # it is a str subclass that safe loading refuses
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "machine": platform.machine(),
    }


def second_run_seconds(step: Callable[[], object], device: torch.device) -> float:
    """Seconds that a step takes the second time: the first loads and chooses kernels."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    return seconds
