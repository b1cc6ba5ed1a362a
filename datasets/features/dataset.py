"""Snippet features of a set of videos, read row by row from disk, never loaded whole.

Two layouts: a folder with one ``VIDEO.npy`` of shape (T, crops, D) a video (or one ``VIDEO__0.npy``
of shape (T, D) and so on a crop), or one concatenated ``.npy`` of shape (N, crops, D) with the
snippet range of each video. Either way a snippet has one global index, videos following each other
(in a folder: sorted by name, or as a list has them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from datasets.features.files import Axes, CropFiles, FeatureFile
from datasets.features.layouts import Layout, open_concatenated, open_folder
from utils.errors import UserError
from utils.files import digest


class FeatureSet:
    """Features of several videos behind one global snippet index.

    Attributes:
        names: video names.
        starts: (V + 1,) int64, global index of each video's first snippet, the total last.
        stored_crops, feature_size, dtype: of every snippet on disk.
        order: what says that the videos come in this order; empty: nothing but their names.
        chosen: the crops to use; None: all.
    """

    def __init__(self, layout: Layout) -> None:
        files: list[FeatureFile | CropFiles] = layout.files
        self.files = files
        self.names = layout.names
        self.starts = layout.starts
        self.order = layout.order
        self.chosen: list[int] | None = None
        self.stored_crops = files[0].crops
        self.feature_size = files[0].size
        self.dtype = files[0].dtype
        self._file_starts = np.cumsum([0, *(file.num_snippets for file in files)])

    @classmethod
    def open(
        cls,
        path: str | Path,
        ranges: str | Path = "",
        crops: Sequence[int] = (),
        video_list: str | Path = "",
        axes: Axes = "auto",
    ) -> FeatureSet:
        """Open a folder of per-video arrays, or one concatenated array with its ranges.

        Args:
            path: folder or ``.npy`` file.
            ranges: for one array: ``.npy`` (V, 2) of start and stop snippets, or ``.npz`` of
                ``names`` (V,) and ``ranges`` (V, 2).
            crops: which of the stored crops to use; none named: all.
            video_list: the list that names the videos in their order (``read_video_list``).
            axes: see ``open_feature_file``.

        Raises:
            UserError: nothing there, unreadable arrays, arrays that differ, ranges that do not
                cover the array, a list of other videos, or a crop that is not there.
        """
        path = Path(path)
        if path.is_dir():
            features = cls(open_folder(path, video_list, axes))
        else:
            features = cls(open_concatenated(path, ranges, video_list, axes))
        features.choose_crops(crops)
        return features

    def choose_crops(self, crops: Sequence[int]) -> None:
        """Use these of the stored crops (none named: all); ``UserError`` for one not there."""
        if not all(0 <= crop < self.stored_crops for crop in crops):
            raise UserError(
                f"{self.path}: holds {self.stored_crops} crop(s) a snippet, but data.crops asks for"
                f" {list(crops)} (counted from 0); choose among them or extract more crops"
            )
        self.chosen = list(crops) or None

    def __len__(self) -> int:
        """Number of snippets."""
        return int(self.starts[-1])

    @property
    def crops(self) -> int:
        """Crops in use."""
        return self.stored_crops if self.chosen is None else len(self.chosen)

    @property
    def path(self) -> Path:
        """Where the features lie, for messages."""
        first = self.files[0].path
        return first if len(self.files) == 1 and len(self.names) > 1 else first.parent

    @property
    def lengths(self) -> np.ndarray:
        """(V,) int64 number of snippets of each video."""
        return np.diff(self.starts)

    @property
    def fingerprint(self) -> str:
        """Short hash of names, ranges, shapes and of 16 snippets spread over the set."""
        shape = [len(self), self.stored_crops, self.chosen, self.feature_size, str(self.dtype)]
        places = np.linspace(0, len(self) - 1, 16).astype(int)
        samples = [self.read(row, row + 1).tobytes().hex() for row in places.tolist()]
        return digest([self.names, self.starts.tolist(), shape, samples])

    def item_rows(self, items: np.ndarray, snippets: int) -> np.ndarray:
        """Global indices of the K = ``snippets`` consecutive snippets that start at each item.

        At the end of a video its last snippet is repeated: an item never crosses into the next
        video (the published code does).

        Args:
            items: (n,) int64 first snippets.

        Returns:
            (n, K) int64.
        """
        video = np.searchsorted(self.starts, items, side="right") - 1
        last = self.starts[video + 1] - 1
        return np.minimum(items[:, None] + np.arange(snippets), last[:, None])

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Snippets ``start`` to ``stop`` (exclusive), (n, stored crops, D), in the stored dtype.

        ``out``, where given, is filled; it must be contiguous.
        """
        if out is None:
            out = np.empty((stop - start, self.stored_crops, self.feature_size), self.dtype)
        index = int(np.searchsorted(self._file_starts, start, side="right")) - 1
        done = 0
        while done < stop - start:
            first = start + done - int(self._file_starts[index])
            count = min(stop - start - done, self.files[index].num_snippets - first)
            self.files[index].read_into(first, out[done : done + count])
            done, index = done + count, index + 1
        return out

    def chunks(self, max_snippets: int = 512) -> Iterator[tuple[int, np.ndarray]]:
        """The set in order: (first global index, (n, crops, D) float32), checked for NaN.

        Raises:
            UserError: a value is not finite.
        """
        for start in range(0, len(self), max_snippets):
            yield start, self.rows(start, min(start + max_snippets, len(self)))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Snippets start..stop as (stop - start, crops, D) float32, checked for NaN.

        Raises:
            UserError: a value is not finite.
        """
        rows = self.read(start, stop).astype(np.float32, copy=False)
        self.require_finite(rows, np.arange(start, stop))
        return rows if self.chosen is None else rows[:, self.chosen]

    def require_size(self, feature_size: int) -> None:
        """Raise ``UserError`` when a model cannot read these features."""
        if self.feature_size != feature_size:
            raise UserError(
                f"{self.path}: features of {self.feature_size} values, but the model takes "
                f"{feature_size}; set model.feature_size={self.feature_size} before training, or "
                "give the features that the model was trained on"
            )

    def require_finite(self, rows: np.ndarray, indices: np.ndarray) -> None:
        """Raise ``UserError`` naming video and snippet when ``rows`` (n, ...) hold NaN or infinity.

        ``indices`` (n,) are their global indices.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(rows.sum(dtype=np.float32)):  # one pass; large sums get the slow look
                return
        bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if not bad.any():
            return
        index = int(indices[bad][0])
        video = int(np.searchsorted(self.starts, index, side="right")) - 1
        raise UserError(
            f"{self.path}: video {self.names[video]}, snippet {index - int(self.starts[video])} "
            "holds NaN or infinite values; extract this video again"
        )

    def split_by_video(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Cut ``values`` (N, ...), one entry a snippet, into the videos' parts."""
        return dict(zip(self.names, np.split(values, self.starts[1:-1]), strict=True))
