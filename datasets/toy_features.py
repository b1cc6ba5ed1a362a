"""Made-up snippet features with planted anomalies: every part of FRD-UVAD tries out on them.

Normal features lie near a low-dimensional subspace that all videos share and drift slowly along it;
an anomalous stretch adds a component outside the subspace that swells and fades. Crops are noisy
copies. Training videos are unlabelled for the method, but the truth is returned, so pseudo labels
can be judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import atomic_path


@dataclass(frozen=True)
class ToySettings:
    """How the features are made; ``strength`` is in norms of a normal feature."""

    num_videos: int = 24  # a split; every second one holds an anomaly
    snippets: tuple[int, int] = (40, 80)  # shortest and longest video
    crops: int = 2
    feature_size: int = 256
    rank: int = 12
    strength: float = 2.0
    anomaly_share: tuple[float, float] = (0.1, 0.2)
    noise: float = 0.25


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
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(settings.feature_size, settings.rank)))[0].T
    truth: dict[str, dict[str, np.ndarray]] = {}
    for split in ("training", "testing"):
        truth[split] = {}
        for number in range(settings.num_videos):
            name = f"{split[:5]}_{number:03d}"
            features, labels = _make_video(random, basis, number % 2 == 0, settings)
            with atomic_path(folder / "features" / split / f"{name}.npy") as temporary:
                np.save(temporary, features)
            truth[split][name] = labels
    with atomic_path(folder / "labels.npz") as temporary:
        np.savez(temporary, **{name: y.repeat(16) for name, y in truth["testing"].items()})
    return truth


def _make_video(
    random: np.random.Generator, basis: np.ndarray, anomalous: bool, settings: ToySettings
) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, crops, D) float32 and snippet labels (T,) uint8."""
    length = int(random.integers(settings.snippets[0], settings.snippets[1] + 1))
    drift = random.normal(size=(length, settings.rank))
    for step in range(1, length):  # a slow walk with unit variance
        drift[step] = 0.9 * drift[step - 1] + np.sqrt(1 - 0.9**2) * drift[step]
    scale = np.sqrt(settings.feature_size)  # the length of a normal feature, so values are near 1
    clean = drift @ basis * np.sqrt(settings.feature_size / settings.rank)
    labels = np.zeros(length, np.uint8)
    if anomalous:
        count = max(4, round(length * random.uniform(*settings.anomaly_share)))
        start = int(random.integers(0, length - count))
        labels[start : start + count] = 1
        swell = np.sin(np.pi * (np.arange(count) + 1) / (count + 1))
        direction = random.normal(size=settings.feature_size)
        direction -= direction @ basis.T @ basis
        direction *= scale / np.linalg.norm(direction)
        clean[start : start + count] += settings.strength * swell[:, None] * direction
    noise = random.normal(size=(length, settings.crops, settings.feature_size))
    noise *= settings.noise
    return (clean[:, None] + noise).astype(np.float32), labels
