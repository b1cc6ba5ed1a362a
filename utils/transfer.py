"""Tensors between the host and a GPU, without one waiting for the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SHARE = 0.25  # of a GPU's free memory that data may take; the rest is for networks


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; the host goes on while a GPU copies."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = pin(tensor)
    return tensor.to(device, non_blocking=True)


def pin(tensor: Tensor) -> Tensor:
    """A copy in memory that a GPU reads by itself; without a GPU the tensor as it is."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def fits(device: torch.device, num_bytes: int) -> bool:
    """Whether ``num_bytes`` are no more than ``SHARE`` of what a GPU has free; false on a CPU."""
    if device.type != "cuda":
        return False
    return num_bytes <= SHARE * torch.cuda.mem_get_info(device)[0]


def read_later(tensor: Tensor) -> Callable[[], Tensor]:
    """Start copying ``tensor`` to the host; what is returned waits for the copy and gives it."""
    if tensor.device.type != "cuda" or not torch.cuda.is_available():
        return lambda: tensor
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copied.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def read() -> Tensor:
        done.synchronize()
        return copied

    return read
