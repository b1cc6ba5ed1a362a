"""A bank of normal features and the distance to the nearest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from utils.errors import UserError
from utils.untrusted.tensors import require_plain_tensors

METRICS = ("cosine", "euclidean")
_FLOATS, _WHOLE = (torch.float16, torch.float32), (torch.int16, torch.int32, torch.int64)
_KEYS = {"features", "blocks", "metric", "neighbours"}


@dataclass(frozen=True)
class Bank:
    """Features of normal cubes.

    Attributes:
        features: (m,d) float16.
        blocks: (m,) int, which block of the normal video each is from: a cube of a block is
            compared with the other blocks alone, for it would find itself.
        metric: ``cosine`` or ``euclidean``.
        neighbours: the distance is the mean over so many nearest features.
    """

    features: np.ndarray
    blocks: np.ndarray
    metric: str
    neighbours: int

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Mean distance of features (n,d) to their nearest in the bank, (n,) float64."""
        return self._mean_of_nearest(self._distances(features))

    def distances_left_out(self, features: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        """The same for features of the normal cubes themselves, which leave out their own block.

        Where the bank is of one block alone, nothing is left out.

        Args:
            features: (n,d); blocks: (n,) int, of each.
        """
        distances = self._distances(features)
        if len(np.unique(self.blocks)) > 1:
            own = np.asarray(blocks)[:, None] == self.blocks[None, :]
            distances[torch.from_numpy(own)] = torch.inf
        return self._mean_of_nearest(distances)

    def nearest(self, features: np.ndarray, count: int) -> np.ndarray:
        """Rows of the bank nearest to each feature (n,d), nearest first: (n,count) int."""
        count = min(count, len(self.features))
        return self._distances(features).topk(count, largest=False).indices.numpy()

    @cached_property
    def _rows(self) -> Tensor:
        """The bank as it is compared, float32: made once, for scoring one cube must be cheap."""
        return self._prepared(self.features)

    def _prepared(self, features: np.ndarray) -> Tensor:
        rows = torch.from_numpy(np.asarray(features, np.float32))
        return normalize(rows) if self.metric == "cosine" else rows

    def _distances(self, features: np.ndarray) -> Tensor:
        """Distances (n,m) float32 to the whole bank."""
        if features.shape[1] != self.features.shape[1]:
            raise UserError(
                f"a density in the checkpoint holds features of {self.features.shape[1]} values, "
                f"but those of a cube are {features.shape[1]}; fit it again (density_fit.py)"
            )
        rows = self._prepared(features)
        if self.metric == "cosine":
            return (1 - rows @ self._rows.T).clamp(min=0)
        # Not by way of products, which lose the digits of small distances.
        return torch.cdist(rows, self._rows, compute_mode="donot_use_mm_for_euclid_dist")

    def _mean_of_nearest(self, distances: Tensor) -> np.ndarray:
        """Mean of the least ``neighbours`` finite distances of each row, (n,) float64."""
        least = distances.topk(min(self.neighbours, distances.shape[1]), largest=False).values
        finite = least.isfinite()
        total = torch.where(finite, least, 0).sum(dim=1, dtype=torch.float64)
        return (total / finite.sum(dim=1)).numpy()

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "features": torch.from_numpy(self.features.astype(np.float16)),
            "blocks": torch.from_numpy(self.blocks.astype(np.int16)),
            "metric": self.metric,
            "neighbours": self.neighbours,
        }

    @classmethod
    def of(cls, state: Any, source: str) -> Bank:
        """From ``state``.

        Raises:
            UserError: a damaged bank in the checkpoint ``source``.
        """
        damaged = UserError(f"{source}: a density in it is damaged; fit it again (density_fit.py)")
        if not isinstance(state, Mapping) or not set(state) >= _KEYS:
            raise damaged
        features, blocks = state["features"], state["blocks"]
        metric, neighbours = state["metric"], state["neighbours"]
        require_plain_tensors({"features": features, "blocks": blocks}, source)
        if features.ndim != 2 or not features.numel() or features.dtype not in _FLOATS:
            raise damaged
        if blocks.shape != features.shape[:1] or blocks.dtype not in _WHOLE:
            raise damaged
        if not features.float().isfinite().all():
            raise damaged
        if type(neighbours) is not int or neighbours < 1 or metric not in list(METRICS):
            raise damaged
        return cls(features.numpy(), blocks.numpy().astype(np.int64), metric, neighbours)
