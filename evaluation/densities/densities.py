"""The densities of a checkpoint: a bank for each kind of feature, and the pictures behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluation.densities.bank import Bank
from utils.errors import UserError
from utils.untrusted.tensors import require_plain_tensors

Features = dict[str, np.ndarray]  # ``appearance`` (n,d) and ``velocity`` (n,8), float32
METRICS = {"appearance": "cosine", "velocity": "euclidean"}


@dataclass(frozen=True)
class Densities:
    """Banks of normal features, all of the same cubes.

    Attributes:
        banks: kind of feature (as in ``METRICS``) -> its bank.
        pictures: (m,32,32,3) uint8 BGR, the last picture of each cube in the banks.
        backbone: name and digest of the network behind ``appearance``.
    """

    banks: Mapping[str, Bank]
    pictures: np.ndarray
    backbone: Mapping[str, str]

    def distances(self, features: Features, blocks: np.ndarray | None = None) -> Features:
        """Distances of n cubes to the banks, each (n,) float64.

        Args:
            features: of the cubes.
            blocks: (n,) int for the normal cubes that the banks are from; they leave out their own.
        """
        return {
            name: bank.distances(features[name])
            if blocks is None
            else bank.distances_left_out(features[name], blocks)
            for name, bank in self.banks.items()
        }

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "banks": {name: bank.state() for name, bank in self.banks.items()},
            "pictures": torch.from_numpy(self.pictures),
            "backbone": dict(self.backbone),
        }

    @classmethod
    def of(cls, state: Any, source: str) -> Densities:
        """From ``state``.

        Raises:
            UserError: damaged densities in the checkpoint ``source``.
        """
        damaged = UserError(f"{source}: its densities are damaged; fit them again (density_fit.py)")
        if not isinstance(state, Mapping) or not set(state) >= {"banks", "pictures", "backbone"}:
            raise damaged
        named, pictures, backbone = state["banks"], state["pictures"], state["backbone"]
        if not isinstance(named, Mapping) or not set(named) <= set(METRICS):
            raise damaged
        if not isinstance(backbone, Mapping) or not _is_identity(backbone):
            raise damaged
        require_plain_tensors({"pictures": pictures}, source)
        banks = {name: Bank.of(each, source) for name, each in named.items()}
        if pictures.dtype != torch.uint8 or pictures.shape[1:] != (32, 32, 3):
            raise damaged
        for name, bank in banks.items():
            if len(bank.features) != len(pictures) or bank.metric != METRICS[name]:
                raise damaged
        return cls(banks, pictures.numpy(), backbone)


def _is_identity(backbone: Mapping[Any, Any]) -> bool:
    """Whether these are the names of a backbone; none, where there is no density of pictures."""
    texts = [*backbone, *backbone.values()]
    sound = all(isinstance(each, str) for each in texts)
    return sound and (not backbone or {"name", "weights"} <= set(backbone))


def block_numbers(
    video_index: np.ndarray, frames: np.ndarray, num_frames: np.ndarray, count: int = 5
) -> np.ndarray:
    """Cut normal video into blocks of about equal length, so that one can be left out.

    Whole videos where there are ``count`` or more, else stretches of all of them joined.

    Args:
        video_index: (n,) int; frames: (n,) int, in the video.
        num_frames: (v,) int, length of each video.

    Returns:
        (n,) int in [0, ``count``).
    """
    ends = np.cumsum(num_frames)
    if len(num_frames) >= count:
        middles = ends - np.asarray(num_frames) / 2
        return np.minimum(middles * count // ends[-1], count - 1).astype(np.int64)[video_index]
    place = (ends - num_frames)[video_index] + frames
    return np.minimum(place * count // ends[-1], count - 1).astype(np.int64)
