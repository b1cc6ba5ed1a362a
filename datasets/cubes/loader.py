"""Seeded batches of cubes, gathered from the memory map, converted on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch


class CubeBatch(NamedTuple):
    """Cubes as stored: ``indices`` (B,) int64, ``appearance`` (B,5,32,32,3) uint8 BGR,
    ``motion`` (B,4,32,32,2) float16 pixels; ``weight``: see ``engine.stage.EpochLoader``."""

    indices: torch.Tensor
    appearance: torch.Tensor
    motion: torch.Tensor
    weight: float = 1.0


class Gathered(Protocol):
    """Cubes that can be had by their numbers: ``CubeSet`` and the published ``ChunkSet``."""

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class CubeLoader:
    """Batches of a cube set, in order or in an order that seed and epoch alone decide.

    ``batch_size`` counts the cubes of one step over all processes; process ``rank`` of
    ``world_size`` gets every ``world_size``-th of them, so results do not depend on how many
    processes share the work.
    """

    def __init__(
        self,
        cubes: Gathered,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.cubes = cubes
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        """Steps an epoch; the last batch may be smaller."""
        return -(-len(self.cubes) // self.batch_size)

    def __iter__(self) -> Iterator[CubeBatch]:
        """The batches of epoch 0."""
        return self.epoch(0)

    def __getitem__(self, number: int) -> CubeBatch:
        """A whole batch of the cubes in their stored order, whichever process asks."""
        start = number * self.batch_size
        return self._gather(np.arange(start, min(start + self.batch_size, len(self.cubes))))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[CubeBatch]:
        """The batches of an epoch, from ``first_step`` on (for resuming inside an epoch)."""
        order = self._order(epoch)
        for step in range(first_step, len(self)):
            whole = order[step * self.batch_size : (step + 1) * self.batch_size]
            own = whole[self.rank :: self.world_size]
            weight = len(own) * self.world_size / len(whole)
            # A process without an item takes part with one of another's, which does not count.
            yield self._gather(own if len(own) else whole[:1])._replace(weight=weight)

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.cubes))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.cubes))

    def _gather(self, indices: np.ndarray) -> CubeBatch:
        appearance, motion = self.cubes.gather(indices)
        return CubeBatch(
            torch.from_numpy(indices), torch.from_numpy(appearance), torch.from_numpy(motion)
        )


def to_network_inputs(
    appearance: torch.Tensor, motion: torch.Tensor, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stored cubes to what the networks read (HF2-VAD §3.1), converted on ``device``.

    Args:
        appearance: (B,5,32,32,3) uint8 BGR, frames i-4..i.
        motion: (B,4,32,32,2) float16 pixels, flows i-3..i.

    Returns:
        ``frames`` (B,15,32,32) float32 in [0,1] and ``flows`` (B,8,32,32) float32, channels
        stacked time-major; in channels-last memory, which convolutions run faster on.
    """
    frames = _time_major(appearance.to(device, non_blocking=True)).float().div_(255.0)
    return frames, _time_major(motion.to(device, non_blocking=True)).float()


def _time_major(patches: torch.Tensor) -> torch.Tensor:
    """(B,T,H,W,C) -> (B,T*C,H,W)."""
    return patches.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)
