"""A cube's errors: those of a network, if there is one, and its distances to normal cubes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from datasets.cubes.loader import to_network_inputs
from engine.scoring.features import CubeFeatures
from engine.scoring.network import CubeScorer
from evaluation.densities.densities import Densities
from models.hf2vad.errors import energies

_SHOWN = 3  # nearest normal pictures


class FlowEnergyScorer:
    """Squared flow alone, of a checkpoint without networks; a ``CubeScorer``."""

    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Any]:
        """See ``models.hf2vad.errors.energies``."""
        flows = to_network_inputs(torch.as_tensor(appearance), torch.as_tensor(motion))[1]
        return energies(flows)


class DensityScorer:
    """Adds distances to the errors of another scorer; a ``CubeScorer``.

    Args:
        errors: of the network.
        features: of cubes.
        densities: what is compared with.
        beside: compute the network in a thread of its own, beside the features.
    """

    def __init__(
        self,
        errors: CubeScorer,
        features: CubeFeatures,
        densities: Densities,
        beside: bool = False,
    ) -> None:
        self._errors, self._features, self._densities = errors, features, densities
        self._threads = ThreadPoolExecutor(1, "network") if beside else None

    def __call__(
        self, appearance: np.ndarray, motion: np.ndarray, blocks: np.ndarray | None = None
    ) -> dict[str, Any]:
        """See ``CubeScorer``; ``blocks``: see ``Densities.distances``."""
        cubes = np.asarray(appearance), np.asarray(motion)
        if self._threads is None:
            errors = self._errors(*cubes)
            return {**errors, **self._distances(*cubes, blocks)}
        submitted = self._threads.submit(self._errors, *cubes)
        distances = self._distances(*cubes, blocks)
        return {**submitted.result(), **distances}

    def _distances(
        self, appearance: np.ndarray, motion: np.ndarray, blocks: np.ndarray | None
    ) -> dict[str, Any]:
        return self._densities.distances(self._features(appearance, motion), blocks)

    def nearest(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Any]:
        """What is normal and most like each of B cubes.

        Returns:
            With the density of that name, ``nearest`` (B,k,32,32,3) uint8 BGR, pictures;
            ``velocity`` (B,8) of the cubes, the nearest normal ``nearest_velocity`` (B,8) and its
            picture, ``nearest_moving`` (B,32,32,3).
        """
        features, banks = self._features(appearance, motion), self._densities.banks
        found: dict[str, Any] = {}
        if "appearance" in banks:
            rows = banks["appearance"].nearest(features["appearance"], _SHOWN)
            found["nearest"] = self._densities.pictures[rows]
        if "velocity" in banks:
            rows = banks["velocity"].nearest(features["velocity"], 1)[:, 0]
            found["velocity"] = features["velocity"]
            found["nearest_velocity"] = banks["velocity"].features[rows].astype(np.float32)
            found["nearest_moving"] = self._densities.pictures[rows]
        return found
