"""Features of a data set's videos as a backbone: they are read, not made a second time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datasets.features.files import open_feature_file
from datasets.manifest import VideoEntry
from pre_process.features.build import Backbone
from pre_process.features.extraction import feature_file


class StoredFeatures:
    """Gives the snippets of one video in the order in which they were extracted.

    Args:
        path: of its features.

    Raises:
        UserError: missing or damaged file.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_feature_file(path)
        self._given = 0
        self.feature_size = self._file.size

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """No frame is looked at."""
        return np.zeros(0, np.uint8)

    def __call__(self, snippets: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """The next n snippets, (n, crops, D)."""
        shape = len(snippets), self._file.crops, self._file.size
        rows = np.empty(shape, self._file.dtype)
        self._file.read_into(self._given, rows)
        self._given += len(snippets)
        return rows


def stored_features(root: Path) -> Callable[[VideoEntry], Backbone]:
    """The features of a video of the data set at ``root``."""
    return lambda entry: StoredFeatures(feature_file(root, entry))
