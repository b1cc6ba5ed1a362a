"""Shuffled batches of K consecutive snippets from a feature set too large for memory.

An epoch visits every snippet as an item's start once, in an order that seed and epoch decide. The
set is cut into short blocks of neighbouring snippets; the blocks are shuffled, and as many as fit
the memory budget form a pool, whose items are shuffled together. So the disk sees reads of a block
at a time and each byte about once per epoch, while a batch mixes snippets from hundreds of places.
A set that fits the budget is one pool: then the order is a plain random permutation, and the
disk is read once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from datasets.features.dataset import FeatureSet

logger = logging.getLogger(__name__)
READERS = 4  # reads in flight: enough to keep a disk's queue filled


class FeatureBatch(NamedTuple):
    """``rows`` (B, K) int64 global snippet indices, ``features`` (B, crops, K, D) float32, or
    float16 where the loader was asked for features as they are stored."""

    rows: torch.Tensor
    features: torch.Tensor
    weight: float = 1.0  # see engine.stage.EpochLoader: its losses are of all processes' items


class _Plan(NamedTuple):
    """An epoch: ``order`` (N,) of items, ``bounds`` (P + 1,) positions where its pools begin,
    ``blocks`` of each pool, in the order in which they lie in its memory."""

    order: np.ndarray
    bounds: np.ndarray
    blocks: list[np.ndarray]


class FeatureLoader:
    """Batches of items of K consecutive snippets, one item starting at every snippet.

    Args:
        features: where to read from.
        batch_size: items a step, over all processes; the last step of an epoch may have fewer.
        snippets: K.
        seed: of the order.
        pool_mb: memory of one pool in MiB; two are held, one being filled while the other serves.
        block: neighbouring snippets that are read together.
        rank, world_size: this process takes every ``world_size``-th item of a step.
        as_stored: leave float16 features as they are, for a GPU to convert.
    """

    def __init__(
        self,
        features: FeatureSet,
        batch_size: int,
        snippets: int,
        seed: int = 0,
        pool_mb: int = 256,
        block: int = 16,
        rank: int = 0,
        world_size: int = 1,
        as_stored: bool = False,
    ) -> None:
        self.features, self.as_stored = features, as_stored
        self.batch_size = batch_size
        self.snippets = snippets
        self.seed = seed
        self.block = block
        self.rank, self.world_size = rank, world_size
        self._block_rows = block + snippets - 1  # an item reaches into the next block
        _warn_of_short_videos(features, snippets)
        row_bytes = features.files[0].row_bytes
        fitting = pool_mb * 2**20 // (row_bytes * self._block_rows)
        self._num_blocks = -(-len(features) // block)
        least = -(-batch_size // block) + 1  # so that a batch touches two pools at most
        self._pool_blocks = min(max(fitting, least), self._num_blocks)
        self._resident: np.ndarray | None = None

    def __len__(self) -> int:
        """Steps an epoch; the last one may have fewer items, and some processes none."""
        return -(-len(self.features) // self.batch_size)

    def __iter__(self) -> Iterator[FeatureBatch]:
        """The batches of epoch 0."""
        return self.epoch(0)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[FeatureBatch]:
        """The batches of an epoch, from ``first_step`` on (for resuming inside an epoch).

        Raises:
            UserError: a feature is NaN or infinite, or a file ends early.
        """
        plan = self._plan(epoch)
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(2) as workers:
            pools = _Pools(self, plan, readers, workers)
            following: Future | None = None
            for step in range(first_step, len(self)):
                current = following or workers.submit(self._gather, plan, pools, step)
                batch = current.result()
                more = step + 1 < len(self)
                following = workers.submit(self._gather, plan, pools, step + 1) if more else None
                yield batch

    def _plan(self, epoch: int) -> _Plan:
        random = np.random.default_rng([self.seed, epoch])
        if self._pool_blocks == self._num_blocks:
            order = random.permutation(len(self.features))
            return _Plan(order, np.array([0, len(order)]), [np.arange(self._num_blocks)])
        shuffled = random.permutation(self._num_blocks)
        blocks = np.split(shuffled, range(self._pool_blocks, self._num_blocks, self._pool_blocks))
        blocks = [np.sort(pool) for pool in blocks]  # read in the order of the disk
        orders = [random.permutation(self._items_of(pool)) for pool in blocks]
        bounds = np.cumsum([0, *(len(order) for order in orders)])
        return _Plan(np.concatenate(orders), bounds, blocks)

    def _items_of(self, blocks: np.ndarray) -> np.ndarray:
        items = (blocks[:, None] * self.block + np.arange(self.block)).ravel()
        return items[items < len(self.features)]

    def _gather(self, plan: _Plan, pools: _Pools, step: int) -> FeatureBatch:
        first = step * self.batch_size + self.rank
        last = min((step + 1) * self.batch_size, len(plan.order))
        positions = np.arange(first, last, self.world_size)
        pool_of = np.searchsorted(plan.bounds, positions, side="right") - 1
        rows = self.features.item_rows(plan.order[positions], self.snippets)
        features = self.features
        shape = (len(positions), self.snippets, features.stored_crops, features.feature_size)
        parts = []
        for number in np.unique(pool_of):
            starts = plan.order[positions[pool_of == number]]
            memory = pools.get(int(number))
            slots = np.searchsorted(plan.blocks[number], starts // self.block)
            shift = slots * self._block_rows - (starts // self.block) * self.block
            parts.append(memory.take(rows[pool_of == number] + shift[:, None], axis=0))
        if not parts:  # other processes have all items of this step
            parts = [np.empty(0, features.dtype)]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        joined = joined.reshape(shape)
        if features.chosen is not None:
            joined = joined[:, :, features.chosen]
        batch = torch.from_numpy(joined)
        if not (self.as_stored and batch.dtype == torch.float16):
            batch = batch.float()
        return FeatureBatch(torch.from_numpy(rows), batch.transpose(1, 2))

    def read_pool(
        self, blocks: np.ndarray, memory: np.ndarray | None, readers: ThreadPoolExecutor
    ) -> np.ndarray:
        """Fill ``memory`` (rows, crops * D), or new memory, with a pool's blocks."""
        if self._resident is not None:
            return self._resident
        features = self.features
        if memory is None:
            row_size = features.stored_crops * features.feature_size
            shape = (self._pool_blocks * self._block_rows, row_size)
            memory = np.empty(shape, features.dtype)
        slots = memory.reshape(-1, self._block_rows, features.stored_crops, features.feature_size)

        def read(slot: int) -> None:
            start = int(blocks[slot]) * self.block
            stop = min(start + self._block_rows, len(features))
            rows = features.read(start, stop, out=slots[slot, : stop - start])
            features.require_finite(rows, np.arange(start, stop))

        list(readers.map(read, range(len(blocks))))
        if self._pool_blocks == self._num_blocks:
            self._resident = memory
        return memory


def _warn_of_short_videos(features: FeatureSet, snippets: int) -> None:
    short = int((features.lengths < snippets).sum())
    if short:
        logger.warning(
            "%s: %d videos are shorter than an item's %d snippets (the shortest has %d); "
            "their last snippet is repeated",
            features.path, short, snippets, features.lengths.min(),
        )  # fmt: skip


class InOrder:
    """Every snippet once and in order, as items of one snippet; can be iterated over again."""

    def __init__(self, features: FeatureSet, batch_size: int) -> None:
        self.features, self.batch_size = features, batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.features) // self.batch_size)

    def __iter__(self) -> Iterator[FeatureBatch]:
        """Batches with ``features`` (B, crops, 1, D)."""
        return (self[step] for step in range(len(self)))

    def __getitem__(self, step: int) -> FeatureBatch:
        """One of the batches."""
        start, stop = step * self.batch_size, (step + 1) * self.batch_size
        rows = self.features.rows(start, min(stop, len(self.features)))
        indices = torch.arange(start, start + len(rows))[:, None]
        return FeatureBatch(indices, torch.from_numpy(rows)[:, :, None])


class _Pools:
    """The pools in memory: the one that serves and the next, which is read meanwhile."""

    def __init__(
        self,
        loader: FeatureLoader,
        plan: _Plan,
        readers: ThreadPoolExecutor,
        workers: ThreadPoolExecutor,
    ) -> None:
        self.loader, self.plan = loader, plan
        self.readers, self.workers = readers, workers
        self.held: dict[int, Future] = {}
        self.spare: list[np.ndarray] = []  # memory of pools let go: fresh pages are dear

    def get(self, number: int) -> np.ndarray:
        """Memory of pool ``number``; older ones are let go and the next is started."""
        for old in [held for held in self.held if held < number]:
            self.spare.append(self.held.pop(old).result())
        for place in (number, number + 1):
            if place not in self.held and place < len(self.plan.blocks):
                memory = self.spare.pop() if self.spare else None
                self.held[place] = self.workers.submit(
                    self.loader.read_pool, self.plan.blocks[place], memory, self.readers
                )
        return self.held[number].result()
