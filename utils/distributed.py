"""Several processes, on one machine or many, that train or evaluate together.

torchrun and ``accelerate launch`` start them and tell each its rank in the environment; until
``initialise`` is called a program is one process, whatever started it. Functions marked collective
must be called by every process, in the same order. Gradients are not shared here: that is
DistributedDataParallel's (``engine.gradients``).
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from utils.console import silence
from utils.errors import UserError

T = TypeVar("T")

TIMEOUT_SECONDS = 25.0  # torchrun takes up to 30 more to end a process that was stopped


def initialise(timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Join the other processes that the launcher started; alone it does nothing (collective).

    Args:
        timeout_seconds: how long any collective call waits for a process that does not answer.

    Raises:
        UserError: the processes do not find each other.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1 or "RANK" not in os.environ or distributed.is_initialized():
        return
    both = torch.cuda.is_available() and distributed.is_nccl_available()
    backend, timeout = "cpu:gloo,cuda:nccl" if both else "gloo", timedelta(seconds=timeout_seconds)
    try:
        store, rank, size = next(distributed.rendezvous("env://", timeout=timeout))
        # torchrun keeps its store when it restarts the processes; old addresses must not count.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"attempt_{attempt}", store)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timeout
        )
        distributed.barrier()
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {os.environ['RANK']} of {size} did not find the others ({_reason(error)}); "
            "check MASTER_ADDR, MASTER_PORT and the firewall"
        ) from None
    if not is_first():
        silence()
    atexit.register(_leave)


def count() -> int:
    """How many processes work together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def index() -> int:
    """Rank of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return index() == 0


def local_index() -> int:
    """Rank of this process among those of its machine, initialised or not."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))


def local_count() -> int:
    """How many processes were started on this machine (srun: at least), initialised or not."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", local_index() + 1))


def all_gather_object(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks (collective)."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    with lost_process_named():
        distributed.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until all processes are here (collective)."""
    all_gather_object(None)


def broadcast(value: T) -> T:
    """The first process's value, on all (collective)."""
    return all_gather_object(value)[0]


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by the first process's (collective)."""
    if count() > 1:
        with lost_process_named():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process (collective)."""
    return any(all_gather_object(flag))


def require_same(value: Any, what: str) -> None:
    """Refuse to go on from different files (collective).

    Raises:
        UserError: ``what`` is not the same for all processes.
    """
    values = all_gather_object(value)
    if any(each != values[0] for each in values):
        raise UserError(
            f"{what} is not the same for all processes: {values}; all machines must see the same "
            "folders data and runs (see docs/many_processes.md)"
        )


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of equally shaped tensors over all processes, without gradient (collective)."""
    if count() == 1:
        return values
    total = values.detach().clone()
    with lost_process_named():
        distributed.all_reduce(total)
    return total / count()


def row_counts(rows: Tensor) -> list[int]:
    """``len(rows)`` of every process (collective)."""
    return all_gather_object(len(rows))


def gather_rows(rows: Tensor) -> Tensor:
    """Rows (n, ...) of all processes, one process after another; has a gradient (collective).

    ``n`` may differ from process to process and be 0. Where every process computes the same loss
    from the result, gradients averaged over processes are those of that loss.
    """
    if count() == 1:
        return rows
    counts = row_counts(rows)
    padding = [0, 0] * (rows.dim() - 1) + [0, max(counts) - len(rows)]
    with lost_process_named():
        parts = all_gather(F.pad(rows, padding))
    return torch.cat([part[:number] for part, number in zip(parts, counts, strict=True)])


def gather_interleaved_rows(rows: Tensor) -> Tensor:
    """``gather_rows`` of interleaved rows (rank, rank + count, ... of the whole), in order."""
    if count() == 1:
        return rows
    whole = gather_rows(rows)
    return whole[interleaved_order(torch.arange(len(whole))).to(rows.device)]


def interleaved_order(positions: Tensor) -> Tensor:
    """How to order gathered rows: those at ``positions`` (n,), ascending, were interleaved.

    Of all rows of a batch, ``positions`` is 0, 1, ...; of a choice among them, it
    says which were chosen. On the CPU, for the number of a process's rows is asked for.
    """
    ranks = positions % count()
    return torch.cat([positions[ranks == rank] for rank in range(count())]).argsort()


@contextmanager
def lost_process_named() -> Iterator[None]:
    """Turn what a collective call raises when a process died or froze into a ``UserError``."""
    try:
        yield
    except RuntimeError as error:
        if count() == 1:
            raise
        atexit.unregister(_leave)  # leaving in good order would wait for the lost one
        raise UserError(
            f"process {index()} lost another one ({_reason(error)}): it ended, was stopped, or did "
            "not answer within run.timeout_seconds; look at what it printed and run the same "
            "command again: training resumes from its checkpoint"
        ) from None


def _reason(error: Exception) -> str:
    """The first sentence, without the source file that gloo puts in front of it."""
    return re.sub(r"\[/\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
