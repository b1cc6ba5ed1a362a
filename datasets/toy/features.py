"""Made-up snippet features with planted anomalies: every part of FRD-UVAD tries out on them.

Normal features lie near a low-dimensional subspace that all videos share, drift slowly along it and
vary in length; an anomalous stretch adds a component outside the subspace that swells and fades.
There are a few kinds of anomaly, each with its own direction, the same in both splits: the scorer
can only know kinds that occur among the unlabelled training videos. Crops are noisy copies. The
truth of the training videos is returned, so that pseudo labels can be evaluated.

By default anomalies make features longer. ``length_of_anomalies`` makes the anomalous ones as long
as normal ones, or shorter, ``within`` puts them into the subspace, further out than normal ones,
and ``mean`` gives all features a vector in common, as real ones have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import atomic_path


@dataclass(frozen=True)
class ToySettings:
    """How the features are made; ``strength`` is in norms of a normal feature."""

    num_videos: int = 24  # a split
    normal_every: int = 2  # one video in so many has no anomaly; 0: none
    snippets: tuple[int, int] = (40, 80)  # shortest and longest video
    crops: int = 2
    feature_size: int = 256
    rank: int = 12
    strength: float = 2.0
    anomaly_share: tuple[float, float] = (0.1, 0.2)
    kinds: int = 3  # of anomalies
    noise: float = 0.25
    gain: float = 0.2  # deviation of the logarithm of a snippet's length
    mean: float = 0.0  # length of what all features have in common, in norms
    length_of_anomalies: float | None = None  # in lengths of what was there; None: as it comes
    within: bool = False  # anomalies lie in the subspace of normal features


def write_toy_features(
    folder: Path, seed: int = 0, settings: ToySettings | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Write ``features/{training,testing}/VIDEO.npy`` and ``labels.npz`` below ``folder``.

    Args:
        folder: the data set's folder.
        seed: of everything random.

    Returns:
        Split -> video -> uint8 (T,) truth of each snippet. ``labels.npz`` holds the testing
        videos' labels a frame (16 a snippet).
    """
    settings = settings or ToySettings()
    world = _World(np.random.default_rng(seed), settings)
    truth: dict[str, dict[str, np.ndarray]] = {}
    for split in ("training", "testing"):
        truth[split] = {}
        for number in range(settings.num_videos):
            name = f"{split[:5]}_{number:03d}"
            features, truth[split][name] = world.make_video(_kind(number, settings))
            with atomic_path(folder / "features" / split / f"{name}.npy") as temporary:
                np.save(temporary, features)
    with atomic_path(folder / "labels.npz") as temporary:
        labels: dict[str, Any] = {name: y.repeat(16) for name, y in truth["testing"].items()}
        np.savez(temporary, **labels)
    return truth


def _kind(number: int, settings: ToySettings) -> int | None:
    """The kind of anomaly in a video."""
    every = settings.normal_every
    if every and number % every == every - 1:
        return None
    return number // max(1, every) % settings.kinds


class _World:
    """What all videos share: the subspace of normal features and the directions of anomalies."""

    def __init__(self, random: np.random.Generator, settings: ToySettings) -> None:
        self.random, self.settings = random, settings
        axes = random.normal(size=(settings.feature_size, settings.rank + settings.kinds))
        axes = np.linalg.qr(axes)[0].T  # orthonormal
        size = np.sqrt(settings.feature_size)  # the length of a normal feature: values are near 1
        self.basis = axes[: settings.rank] * size / np.sqrt(settings.rank)
        self.directions = axes[settings.rank :] * size
        if settings.within:
            mixture = np.linalg.qr(random.normal(size=(settings.rank, settings.kinds)))[0].T
            self.directions = mixture @ axes[: settings.rank] * size
        self.mean = np.full(settings.feature_size, settings.mean)

    def make_video(self, kind: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Features (T, crops, D) float32 and truth (T,) uint8; ``None``: without an anomaly."""
        random, settings = self.random, self.settings
        length = int(random.integers(settings.snippets[0], settings.snippets[1] + 1))
        features = self._drift(length) @ self.basis + self.mean
        labels = np.zeros(length, np.uint8)
        if kind is not None:
            count = max(4, round(length * random.uniform(*settings.anomaly_share)))
            start = int(random.integers(0, length - count))
            labels[start : start + count] = 1
            swell = np.sin(np.pi * (np.arange(count) + 1) / (count + 1))
            added = settings.strength * swell[:, None] * self.directions[kind]
            features[start : start + count] = self._changed(features[start : start + count], added)
        features *= np.exp(settings.gain * random.normal(size=(length, 1)))
        shape = (length, settings.crops, settings.feature_size)
        noisy = features[:, None] + settings.noise * random.normal(size=shape)
        return noisy.astype(np.float32), labels

    def _changed(self, normal: np.ndarray, added: np.ndarray) -> np.ndarray:
        """Normal features (T, D) with an anomaly added, of the length that is asked for."""
        factor, anomalous = self.settings.length_of_anomalies, normal + added
        if factor is None:
            return anomalous
        lengths = np.linalg.norm(normal, axis=1, keepdims=True)
        return anomalous * factor * lengths / np.linalg.norm(anomalous, axis=1, keepdims=True)

    def _drift(self, length: int) -> np.ndarray:
        """A slow random walk of unit variance, (length, rank)."""
        drift = self.random.normal(size=(length, self.settings.rank))
        for step in range(1, length):
            drift[step] = 0.9 * drift[step - 1] + np.sqrt(1 - 0.9**2) * drift[step]
        return drift
