"""A batch in as many parts as a CPU has threads, each through the whole network by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from models.cpu.winograd import one_thread_a_product

FEWEST = 8
Work = Callable[..., dict[str, Tensor]]


def in_parts(work: Work, *batch: Tensor) -> dict[str, Tensor]:
    """``work(*batch)``, one part of the batch a thread.

    Layers that compute in one thread (:mod:`models.cpu.winograd`) leave no core idle that way. On a
    GPU, for an export, for a single thread, and where a part would have fewer than ``FEWEST``
    items (each part reads all weights, the memories' among them) it is just ``work(*batch)``.

    Args:
        work: maps tensors (B, ...) to named tensors (B, ...), each item by itself.
        batch: of one length B.
    """
    threads = torch.get_num_threads()
    if threads == 1 or torch.compiler.is_compiling() or batch[0].device.type != "cpu":
        return work(*batch)
    if len(batch[0]) < threads * FEWEST:
        return work(*batch)
    pieces = zip(*(each.tensor_split(threads) for each in batch), strict=True)
    with one_thread_a_product():
        results = list(_pool(threads).map(lambda piece: work(*piece), pieces))
    return {name: torch.cat([result[name] for result in results]) for name in results[0]}


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "part", initializer=torch.set_num_threads, initargs=(1,))
