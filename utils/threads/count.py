"""How many threads the numeric libraries of a process compute with."""

from __future__ import annotations

import cv2
import torch
from threadpoolctl import threadpool_limits

_AVAILABLE = torch.get_num_threads()  # cores, or as OMP_NUM_THREADS says


def has_idle_cores() -> bool:
    """Whether each step computes with half of the cores or less, so that two fit side by side."""
    return 2 * torch.get_num_threads() <= _AVAILABLE


def use_threads(count: int) -> None:
    """Compute with so many threads; 0: as many as torch takes by itself (``run.num_threads``)."""
    if count:
        torch.set_num_threads(count)


def share_cores(count: int) -> int:
    """Set the threads of all numeric libraries in a program whose steps run side by side.

    Decoding, boxes and flow, networks, drawing and encoding have a thread each. With as many
    threads inside each step as there are cores they wait for each other: on two cores a live run
    then drops frames which it scores in time with one thread a step.

    Args:
        count: 0: half of the cores, at least one.

    Returns:
        The count. OpenVINO takes it from PyTorch when a network is compiled.
    """
    count = count or max(1, _AVAILABLE // 2)
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    threadpool_limits(count, "blas")  # of NumPy, whose threads keep a core busy while they wait
    return count
