"""Several processes, on one machine or many, that do one program's work together.

torchrun and ``accelerate launch`` start them and tell each its place in the environment. Until
``join`` is called a program is one process, whatever started it. Collective functions are marked:
every process must call them, in the same order.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from utils.console import silence
from utils.errors import UserError
from utils.failure_propagation import share_fate

T = TypeVar("T")

PATIENCE = timedelta(hours=1)  # for the others; the first one alone writes reports


def join() -> None:
    """Meet the other processes that the launcher started; alone it does nothing (collective).

    From here on an error of one process ends all of them, and one of them says why.

    Raises:
        UserError: the processes do not find each other.
    """
    wanted = int(os.environ.get("WORLD_SIZE", 1))
    if wanted == 1 or "RANK" not in os.environ or distributed.is_initialized():
        return
    try:
        both = torch.cuda.is_available() and distributed.is_nccl_available()
        backend = "cpu:gloo,cuda:nccl" if both else "gloo"
        store, rank, size = next(distributed.rendezvous("env://", timeout=PATIENCE))
        # torchrun keeps its store when it restarts the processes; old entries must not count.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"attempt_{attempt}", store)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {os.environ['RANK']} of {wanted} did not find the others "
            f"({_reason(error)}); check MASTER_ADDR, MASTER_PORT and the firewall"
        ) from None
    if not is_first():
        silence()
    share_fate(store)
    atexit.register(_leave)


def count() -> int:
    """How many processes work together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def index() -> int:
    """The place of this process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return index() == 0


def local_index() -> int:
    """The place of this process among those of its machine, joined or not."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))


def local_count() -> int:
    """How many processes a launcher started on this machine, joined or not (srun: or more)."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", local_index() + 1))


def gather(value: T) -> list[T]:
    """The values of all processes, in their order (collective)."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    _collect(distributed.all_gather_object, values, value)
    return values


def meet() -> None:
    """Wait until all processes are here (collective)."""
    gather(None)


def from_first(value: T) -> T:
    """The first process's value, on all (collective)."""
    return gather(value)[0]


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process (collective)."""
    if count() == 1:
        return flag
    flags = torch.tensor([float(flag)])
    sum_in_place(flags)
    return bool(flags.item())


def require_alike(value: Any, what: str) -> None:
    """Refuse to go on from different files (collective).

    Raises:
        UserError: ``what`` is not the same for all processes.
    """
    values = gather(value)
    if any(each != values[0] for each in values):
        raise UserError(
            f"{what} is not the same for all processes: {values}; all machines must see the same "
            "folders data and runs (see docs/many_processes.md)"
        )


def sum_in_place(*tensors: Tensor) -> None:
    """Replace tensors of one type by their sums over all processes (collective)."""
    flat = torch.cat([each.reshape(-1) for each in tensors])
    _collect(distributed.all_reduce, flat)
    parts = flat.split([each.numel() for each in tensors])
    for each, part in zip(tensors, parts, strict=True):
        each.copy_(part.view_as(each))


def stack(tensor: Tensor) -> Tensor:
    """A tensor of the same shape on all processes, of all of them: (count(), ...) (collective)."""
    parts = [torch.empty_like(tensor) for _ in range(count())]
    _collect(distributed.all_gather, parts, tensor)
    return torch.stack(parts)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by the first process's (collective)."""
    if count() > 1:
        for each in tensors:
            dense = each.contiguous()
            _collect(distributed.broadcast, dense, 0)
            each.copy_(dense)


def gather_rows(rows: Tensor) -> Tensor:
    """Put rows that were dealt out in turns back into one tensor; has a gradient (collective).

    Args:
        rows: (n, ...), rows ``index()``, ``index() + count()``, ... of the whole.

    Returns:
        All of them, (N, ...). A process that computes a loss from it gets, in its own rows, the
        gradient of the sum of all processes' losses.
    """
    if count() == 1:
        return rows
    number = torch.tensor([len(rows)], device=rows.device)
    sum_in_place(number)
    whole = rows.new_zeros((int(number), *rows.shape[1:]))
    whole[index() :: count()] = rows
    return _Sum.apply(whole) if len(whole) else whole


def pick_rows(rows: Tensor, chosen: Tensor) -> Tensor:
    """The chosen ones of rows that were dealt out in turns, in their order (collective).

    Args:
        rows: (n, ...), rows ``index()``, ``index() + count()``, ... of the whole.
        chosen: (N,) bool, over the whole, the same on all processes.

    Returns:
        (chosen, ...), without gradient, on all processes.
    """
    if count() == 1 or not chosen.any():
        return rows.detach()[chosen[: len(rows)]]
    place = chosen.cumsum(0) - 1  # of a chosen row among the chosen
    own = chosen[index() :: count()]
    picked = rows.new_zeros((int(chosen.sum()), *rows.shape[1:]))
    picked[place[index() :: count()][own]] = rows.detach()[own]
    sum_in_place(picked)
    return picked


class _Sum(torch.autograd.Function):
    """Sum over all processes, of the values and of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        sum_in_place(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        sum_in_place(total)
        return total


def _collect(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except RuntimeError as error:
        raise UserError(
            f"process {index()} lost another one ({_reason(error)}); look at what that one said, "
            "and run the same command again: training goes on from its checkpoint"
        ) from None


def _reason(error: Exception) -> str:
    """The first sentence, without the source file that gloo puts in front of it."""
    return re.sub(r"\[/\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
