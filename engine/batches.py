"""Training batches prefetched for a GPU: a thread gathers and pins them while it computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from datasets.cubes.resident import ResidentLoader
from engine.stage import EpochLoader
from utils.transfer import pin

PREFETCHED = 3  # batches that wait at most


def prefetched(loader: EpochLoader, device: torch.device) -> EpochLoader:
    """``loader`` as training on ``device`` reads it fastest, with the same batches.

    On a CPU, whose cores the step itself needs, and where the batches are on the GPU already, it is
    ``loader`` itself.
    """
    if device.type == "cpu" or isinstance(loader, ResidentLoader):
        return loader
    return Prefetching(loader, pinned)


def pinned(batch: Any) -> Any:
    """A batch (a named tuple) with its tensors where a GPU copies them without the host's help."""
    return batch._make(pin(each) if isinstance(each, torch.Tensor) else each for each in batch)


class Prefetching:
    """The batches of another loader, in its order, some of them ahead of their use.

    Args:
        loader: whose batches these are; it is asked from one thread only.
        prepare: what that thread does with each.
    """

    def __init__(self, loader: EpochLoader, prepare: Callable[[Any], Any]) -> None:
        self.loader, self.prepare = loader, prepare

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self.loader)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Any]:
        """As ``loader.epoch``; what it raises is raised when its batch is asked for."""
        batches = self.loader.epoch(epoch, first_step)

        def following() -> Any:
            batch = next(batches, None)
            return None if batch is None else self.prepare(batch)

        with ThreadPoolExecutor(1) as thread:
            waiting: deque[Future] = deque(thread.submit(following) for _ in range(PREFETCHED))
            while (batch := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(following))
                yield batch
