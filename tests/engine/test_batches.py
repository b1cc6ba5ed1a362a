"""Batches ahead of a GPU: the same ones in the same order, faults where they belong."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest
import torch

from engine.batches import PREFETCHED, Prefetching, pinned, prefetched


class Batch(NamedTuple):
    number: torch.Tensor
    weight: float = 1.0


class Numbers:
    """Ten batches an epoch; remembers which were made, by which thread."""

    def __init__(self, bad: int | None = None) -> None:
        self.bad, self.made, self.threads = bad, [], set()

    def __len__(self) -> int:
        return 10

    def epoch(self, epoch, first_step=0):
        for step in range(first_step, 10):
            if step == self.bad:
                raise ValueError("a damaged file")
            self.made.append(step)
            self.threads.add(threading.get_ident())
            yield Batch(torch.tensor(100 * epoch + step))


@pytest.mark.parametrize("first", [0, 7, 10])
def test_order_and_length_are_those_of_the_loader(first):
    loader = Prefetching(Numbers(), lambda batch: batch._replace(weight=0.5))
    batches = list(loader.epoch(3, first))
    assert [int(batch.number) for batch in batches] == list(range(300 + first, 310))
    assert all(batch.weight == 0.5 for batch in batches) and len(loader) == 10


def test_a_few_batches_wait_made_by_another_thread():
    numbers = Numbers()
    epoch = Prefetching(numbers, pinned).epoch(0)
    for used in range(1, 5):
        next(epoch)
        assert used <= len(numbers.made) <= used + PREFETCHED
    epoch.close()
    assert len(numbers.made) <= 4 + PREFETCHED  # who stops early reads no more
    assert threading.get_ident() not in numbers.threads


def test_a_fault_comes_with_its_batch():
    epoch = Prefetching(Numbers(bad=4), pinned).epoch(0)
    assert [int(next(epoch).number) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="damaged file"):
        next(epoch)


def test_on_a_cpu_the_loader_stays_as_it_is():
    numbers = Numbers()
    assert prefetched(numbers, torch.device("cpu")) is numbers
    assert isinstance(prefetched(numbers, torch.device("cuda")), Prefetching)
