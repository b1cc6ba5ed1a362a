"""Flow made earlier by ``extract_flows.py``, read from the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import DataSet, VideoEntry
from pre_process.flow.base import FlowEstimator, flow_file
from utils.errors import UserError
from utils.files import read_json


class FlowFile(FlowEstimator):
    """Gives the stored flow of a data set's videos, memory-mapped.

    Args:
        root: the data set's folder.
    """

    is_sequential = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._flow = np.zeros((0, 0, 0, 2), np.float16)
        self._next = 0

    def start(self, entry: VideoEntry | None) -> None:
        """Open the flow of a video.

        Raises:
            UserError: missing or unreadable file, or not the flow of this video.
        """
        if entry is None:
            raise UserError("pre_process.flow.backend 'file' has no flow for a new video")
        path = flow_file(self._root, entry)
        self._flow = _open_flow(path)
        expected = (entry.num_frames, entry.height, entry.width, 2)
        if self._flow.shape != expected:
            raise UserError(
                f"{path}: shape {self._flow.shape}, the video needs {expected}; "
                "run pre_process/extract_flows.py --overwrite"
            )
        self._next = 1  # the flow of the first frame is zero and not asked for

    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The next stored fields; see ``FlowEstimator``."""
        first, self._next = self._next, self._next + len(current)
        return [np.asarray(flow, np.float32) for flow in self._flow[first : self._next]]


def common_flow_settings(dataset: DataSet) -> dict[str, Any]:
    """The settings all stored flow of a data set was made with.

    Raises:
        UserError: a video's flow is missing, or they differ.
    """
    first: dict[str, Any] | None = None
    for entry in dataset.entries:
        path = flow_file(dataset.root, entry).with_suffix(".json")
        if not path.is_file():
            raise UserError(f"{path}: no stored flow; run pre_process/extract_flows.py first")
        settings = read_json(path)
        if first is not None and settings != first:
            raise UserError(
                f"{path}: made with other settings than the files before it "
                f"({json.dumps(settings)}); run pre_process/extract_flows.py --overwrite"
            )
        first = settings
    return first or {}


def _open_flow(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no stored flow; run pre_process/extract_flows.py first") from None
    except (ValueError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: not a whole .npy file ({error}); run pre_process/extract_flows.py --overwrite"
        ) from None
