"""Mean and root mean square of a feature set: what networks that adapt to features start from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from datasets.features.dataset import FeatureSet

ENOUGH = 8192  # snippets that tell a larger set's mean and scale well enough, spread evenly


class FeatureStatistics(NamedTuple):
    """``mean`` (D,) float32 over snippets and crops; ``rms`` of all values, around zero."""

    mean: np.ndarray
    rms: float


def feature_statistics(features: FeatureSet) -> FeatureStatistics:
    """Mean feature and root mean square, over the crops in use; no label is looked at.

    Of more than ``ENOUGH`` snippets as many are read, spread evenly, the same in every run.

    Raises:
        UserError: a value is not finite.
    """
    total = np.zeros(features.feature_size)
    squares, count = 0.0, 0
    for rows in _samples(features):
        total += rows.sum(axis=(0, 1), dtype=np.float64)
        squares += float(np.square(rows, dtype=np.float64).sum())
        count += rows.shape[0] * rows.shape[1]
    mean = (total / count).astype(np.float32)
    return FeatureStatistics(mean, float(np.sqrt(squares / (count * features.feature_size))))


def _samples(features: FeatureSet) -> Iterator[np.ndarray]:
    if len(features) <= ENOUGH:
        yield from (rows for _, rows in features.chunks())
        return
    for row in np.linspace(0, len(features) - 1, ENOUGH).astype(int).tolist():
        yield features.rows(row, row + 1)
