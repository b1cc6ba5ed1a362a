"""FlowNet2 (arXiv 1612.01925), the flow of the published HF2-VAD inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from models.flownet2.flownet2 import SIZE_MULTIPLE, FlowNet2, build_flownet2
from pre_process.flow.base import FlowEstimator, resize_to_frame, working_size
from utils.checkpoint import require_same_tensors
from utils.errors import UserError
from utils.pretrained import load_state_dict_file
from utils.runtime import autocast

PUBLISHED_WEIGHTS = "FlowNet2_checkpoint.pth.tar of github.com/NVIDIA/flownet2-pytorch"


class FlowNet2Flow(FlowEstimator):
    """FlowNet2 on enlarged frames.

    Args:
        weights: the published file, or a state dict with its 220 tensors.
        size: (width, height) to compute at, multiples of 64; 0: the frame's own, rounded up.
        device: where it runs.
        precision: ``fp32``, or ``bf16`` for the convolutions (correlation and warping stay fp32).
        batch_size: pairs a GPU takes at once. The CPU takes them one by one: a batch brings no
            speed there, and a pair of 1024x768 takes 1.1 GB beside the weights' 0.6.

    Raises:
        UserError: missing or foreign weights, or a size that is no multiple of 64.
    """

    def __init__(
        self,
        weights: str,
        size: tuple[int, int],
        device: torch.device,
        precision: str = "fp32",
        batch_size: int = 1,
    ) -> None:
        _require_size(size)
        self._size = size
        self._device = device
        self._precision = precision
        self._batch_size = 1 if device.type == "cpu" else batch_size
        self.network = load_flownet2(weights).to(device)

    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """See ``FlowEstimator``."""
        pairs, step = list(zip(previous, current, strict=True)), self._batch_size
        flows = [
            flow for at in range(0, len(pairs), step) for flow in self._flows(pairs[at : at + step])
        ]
        return [resize_to_frame(flow, frame) for flow, frame in zip(flows, current, strict=True)]

    @torch.inference_mode()
    def _flows(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Flow fields at the working size, each (h, w, 2) float32."""
        batch = np.stack([[self._enlarge(frame) for frame in pair] for pair in pairs])
        frames = torch.from_numpy(batch).to(self._device).permute(0, 4, 1, 2, 3)
        with autocast(self._device, self._precision):
            flow = self.network(frames)
        return list(flow.permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def _enlarge(self, frame: np.ndarray) -> np.ndarray:
        width, height = (
            -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in working_size(frame, *self._size)
        )
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


def load_flownet2(weights: str) -> FlowNet2:
    """Read the published weights.

    Raises:
        UserError: no such file, not a checkpoint, or tensors of another network (named).
    """
    if not weights or not Path(weights).is_file():
        named = f"{weights}: no such file" if weights else "pre_process.flow.weights is empty"
        raise UserError(
            f"{named}; the flownet2 backend needs weights: {PUBLISHED_WEIGHTS} (its README links "
            "it), named in pre_process.flow.weights"
        )
    state = load_state_dict_file(weights, keys=("state_dict",))
    with torch.device("meta"):
        expected = FlowNet2().state_dict()
    require_same_tensors(expected, state, weights)
    return build_flownet2({key: tensor.float() for key, tensor in state.items()})


def _require_size(size: tuple[int, int]) -> None:
    for name, side in zip(("width", "height"), size, strict=True):
        if side % SIZE_MULTIPLE:
            lower = side // SIZE_MULTIPLE * SIZE_MULTIPLE
            raise UserError(
                f"pre_process.flow.{name}: {side} is not a multiple of {SIZE_MULTIPLE}, which "
                f"FlowNet2 needs; take {lower or SIZE_MULTIPLE} or {lower + SIZE_MULTIPLE}"
            )
