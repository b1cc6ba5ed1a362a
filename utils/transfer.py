"""Tensors between the host and a GPU, without one waiting for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
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


def read_together(batches: Iterable[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Named values of batches as float64 arrays; a GPU is waited for once, after the last batch.

    Args:
        batches: each maps names to tensors or arrays; those on the host are copied at once.
    """
    kept = [{name: _on_host(value) for name, value in batch.items()} for batch in batches]
    far = [value for batch in kept for value in batch.values() if isinstance(value, Tensor)]
    if far:
        read = iter(copy_together(far))
        for batch in kept:
            batch.update(
                {name: next(read) for name, value in batch.items() if isinstance(value, Tensor)}
            )
    return kept


def copy_together(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Tensors of one GPU as float64 arrays, in one copy."""
    joined = torch.cat([each.flatten().double() for each in tensors]).cpu().numpy()
    ends = np.cumsum([each.numel() for each in tensors])
    parts = zip(np.split(joined, ends[:-1]), tensors, strict=True)
    return [part.reshape(tensor.shape) for part, tensor in parts]


def _on_host(value: Any) -> Any:
    is_far = isinstance(value, Tensor) and value.device.type == "cuda"
    return value if is_far else np.asarray(value, np.float64)
