"""Cubes that stay on a GPU: read from disk once, then gathered there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from datasets.cubes.loader import CubeBatch, CubeLoader, Gathered
from utils.transfer import fits, send

_PART = 4096  # cubes that are copied at once


class ResidentLoader(CubeLoader):
    """A ``CubeLoader`` with the same batches, whose cubes are on ``device`` in their stored types.

    ``indices`` of a batch stay on the host.

    Args:
        cubes: copied whole, 32 kB a cube (a cube's last flow alone: 4 kB).
        batch_size, more: as for ``CubeLoader``.
    """

    def __init__(self, cubes: Gathered, batch_size: int, device: torch.device, **more: Any) -> None:
        super().__init__(cubes, batch_size, **more)
        self.device = device
        self._appearance, self._motion = _copy(cubes, device)

    def _gather(self, indices: np.ndarray) -> CubeBatch:
        numbers = torch.from_numpy(indices)
        rows = send(numbers, self.device)
        return CubeBatch(
            numbers, self._appearance.index_select(0, rows), self._motion.index_select(0, rows)
        )


def training_loader(
    cubes: Gathered, batch_size: int, device: torch.device, **more: Any
) -> CubeLoader:
    """The loader that suits a device: of cubes on it, where they fit.

    Args:
        cubes, batch_size, more: as for ``CubeLoader``.
        device: where training computes.
    """
    appearance, motion = cubes.gather(np.arange(min(1, len(cubes))))
    if fits(device, len(cubes) * (appearance.nbytes + motion.nbytes)):
        return ResidentLoader(cubes, batch_size, device, **more)
    return CubeLoader(cubes, batch_size, **more)


def _copy(cubes: Gathered, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Appearance and motion of all cubes."""
    parts = []
    for start in range(0, len(cubes), _PART):
        numbers = np.arange(start, min(start + _PART, len(cubes)))
        parts.append([torch.from_numpy(each).to(device) for each in cubes.gather(numbers)])
    appearance, motion = zip(*parts, strict=True)
    return torch.cat(appearance), torch.cat(motion)
