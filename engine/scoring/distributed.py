"""Errors of many batches, computed by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tqdm import tqdm

from evaluation.scores import Errors, collect_errors
from utils import distributed
from utils.transfer import read_together


class Batches(Protocol):
    """Batches in the order of the cubes, any of which can be had by its number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Any: ...


def score_distributed(
    batches: Batches, score_batch: Callable[[Any], Mapping[str, Any]], what: str = ""
) -> Errors:
    """``collect_errors`` with whole batches dealt to the processes in turns (collective).

    A batch is the same whoever scores it, so the errors do not depend on the number of processes.

    Args:
        batches: all of them, the same on every process.
        score_batch: maps a batch of B cubes to named errors, each a (B,) tensor or array.
        what: word in front of a progress bar; none without.

    Returns:
        Each error as (n,) float64, on all processes.

    Raises:
        UserError: as ``collect_errors``.
    """
    size, number = distributed.count(), distributed.index()
    mine = tqdm(
        range(number, len(batches), size),
        desc=what,
        unit="batch",
        mininterval=1.0,
        disable=not what or not distributed.is_first(),
    )
    own = read_together(score_batch(batches[place]) for place in mine)
    dealt = distributed.all_gather_object(own)
    in_order = [dealt[place % size][place // size] for place in range(len(batches))]
    return collect_errors(in_order, lambda errors: errors)
