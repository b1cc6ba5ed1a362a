"""Optical flow estimators behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.manifest import DataSet, VideoEntry
from utils.config_schema import FlowConfig, PreProcessConfig
from utils.errors import UserError


class FlowEstimator:
    """What a flow backend offers.

    Attributes:
        is_sequential: it must be asked for every frame but the first, in order.
    """

    is_sequential = False

    def start(self, entry: VideoEntry | None) -> None:
        """Forget the last video; ``entry`` is the next one, ``None`` when it has no entry."""

    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Flow from each previous to each current frame.

        Args:
            previous: (H,W,3) uint8 BGR frames i-1.
            current: the frames i, as many.

        Returns:
            For each pair (H,W,2) float32 (u, v), in pixels of the size the flow is computed at,
            which is not the frame's when the configuration enlarges it (HF2-VAD §4.1).
        """
        raise NotImplementedError


def working_size(frame: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """(width, height) the flow of a frame is computed at; zeros stand for the frame's own."""
    return width or frame.shape[1], height or frame.shape[0]


def resize_to_frame(flow: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Bring a flow field to the frame's size, bilinear, without rescaling its vectors."""
    height, width = frame.shape[:2]
    if flow.shape[:2] == (height, width):
        return flow
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)


def flow_file(root: Path, entry: VideoEntry) -> Path:
    """Where a video's flow lies: ``data/NAME/flows/SPLIT/VIDEO.npy``."""
    return Path(root) / "flows" / entry.split / f"{entry.name}.npy"


def build_flow(config: PreProcessConfig, dataset: DataSet | None = None) -> Any:
    """Build the estimator that ``pre_process.flow`` names; backends are imported when chosen.

    Args:
        config: the block ``pre_process``.
        dataset: whose flow backend ``file`` reads.

    Raises:
        UserError: what the backend needs is missing.
    """
    return _BUILDERS[config.flow.backend](config.flow, config.device, dataset)


def _build_dis(config: FlowConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.flow_dis import DISFlow

    names = ("width", "height", "preset", "patch_size", "patch_stride")
    names += ("refinement_iterations", "finest_scale")
    return DISFlow(**{name: getattr(config, name) for name in names})


def _build_raft(config: FlowConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.flow_raft import RAFTFlow
    from utils.runtime import pick_device

    size = config.width, config.height
    return RAFTFlow(config.model, config.weights, size, pick_device(device), config.precision)


def _build_flownet2(config: FlowConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.flow_flownet2 import FlowNet2Flow
    from utils.runtime import pick_device

    size, chosen = (config.width, config.height), pick_device(device)
    return FlowNet2Flow(config.weights, size, chosen, config.precision, config.batch_size)


def _build_file(config: FlowConfig, device: str, dataset: DataSet | None) -> Any:
    from pre_process.flow_file import FlowFile

    if dataset is None:
        raise UserError(
            "pre_process.flow.backend is 'file', which has no flow for a new video; "
            "set it to dis, raft or flownet2"
        )
    return FlowFile(dataset.root)


_BUILDERS: dict[str, Callable[[FlowConfig, str, DataSet | None], Any]] = {
    "dis": _build_dis,
    "raft": _build_raft,
    "flownet2": _build_flownet2,
    "file": _build_file,
}
