"""A bank of normal features and the distance to the nearest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from utils.errors import UserError

METRICS = ("cosine", "euclidean")
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
        return self._mean_distance(self._index, features)

    def distances_left_out(self, features: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        """The same for features of the normal cubes themselves, which leave out their own block.

        Args:
            features: (n,d); blocks: (n,) int, of each.
        """
        distances = np.empty(len(features))
        for block in np.unique(blocks):
            own, index = blocks == block, self._others.get(block, self._index)
            distances[own] = self._mean_distance(index, features[own])
        return distances

    def nearest(self, features: np.ndarray, count: int) -> np.ndarray:
        """Rows of the bank nearest to each feature (n,d), nearest first: (n,count) int."""
        count = min(count, len(self.features))
        return self._index.kneighbors(_as_float32(features), count, return_distance=False)

    @cached_property
    def _index(self) -> NearestNeighbors:
        return self._fit(self.features)

    @cached_property
    def _others(self) -> dict[int, NearestNeighbors]:
        """Block -> the features of all others; nothing where it is the only one."""
        blocks = np.unique(self.blocks)
        if len(blocks) == 1:
            return {}
        return {block: self._fit(self.features[self.blocks != block]) for block in blocks}

    def _fit(self, features: np.ndarray) -> NearestNeighbors:
        return NearestNeighbors(metric=self.metric, algorithm="brute").fit(_as_float32(features))

    def _mean_distance(self, index: NearestNeighbors, features: np.ndarray) -> np.ndarray:
        if not len(features):
            return np.zeros(0)
        count = min(self.neighbours, index.n_samples_fit_)
        return index.kneighbors(_as_float32(features), count)[0].mean(axis=1).astype(np.float64)

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
        if not torch.is_tensor(features) or not torch.is_tensor(blocks) or features.ndim != 2:
            raise damaged
        if not len(features) or blocks.shape != features.shape[:1]:
            raise damaged
        if not features.float().isfinite().all() or state["metric"] not in METRICS:
            raise damaged
        return cls(
            features.numpy(),
            blocks.numpy().astype(np.int64),
            state["metric"],
            int(state["neighbours"]),
        )


def _as_float32(features: np.ndarray) -> np.ndarray:
    return np.asarray(features, np.float32)
