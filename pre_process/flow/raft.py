"""RAFT flow (arXiv 2003.12039) from torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as functional

from pre_process.flow.base import FlowEstimator, resize_to_frame, working_size
from utils.pretrained import torchvision_model
from utils.runtime import autocast

# The encoder divides the sides by 8, and four levels of correlation need 16 cells a side.
_MULTIPLE = 8
_SMALLEST = 128


class RAFTFlow(FlowEstimator):
    """RAFT on batches of frame pairs.

    Args:
        model: ``raft_small`` or ``raft_large``.
        weights: a state dict file, or a name torchvision knows (``C_T_V2``); empty: its default.
        size: (width, height) to compute at; 0: the frame's own.
        device: where it runs.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: weights that are unknown, cannot be fetched, or belong to another model.
    """

    def __init__(
        self,
        model: str,
        weights: str,
        size: tuple[int, int],
        device: torch.device,
        precision: str,
    ) -> None:
        self._size = size
        self._device = device
        self._precision = precision
        network = torchvision_model(model, weights, "pre_process.flow.weights")
        self._network = network.to(device).eval()

    @torch.inference_mode()
    def __call__(
        self, previous: Sequence[np.ndarray], current: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """See ``FlowEstimator``."""
        if not current:
            return []
        before, after = self._as_input(previous), self._as_input(current)
        height, width = before.shape[2:]
        padding = _padding(height, width)
        pair = [functional.pad(each, padding, mode="replicate") for each in (before, after)]
        with autocast(self._device, self._precision):
            flow = self._network(*pair)[-1]
        flow = flow[:, :, padding[2] :, padding[0] :][:, :, :height, :width]
        fields = flow.permute(0, 2, 3, 1).float().contiguous().cpu().numpy()
        return [resize_to_frame(*each) for each in zip(fields, current, strict=True)]

    def _as_input(self, frames: Sequence[np.ndarray]) -> torch.Tensor:
        """(B,3,h,w) RGB in [-1,1] at the working size."""
        size = working_size(frames[0], *self._size)
        resized = [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames]
        batch = torch.from_numpy(np.stack(resized)[..., ::-1].copy()).to(self._device)
        return batch.permute(0, 3, 1, 2).float() / 127.5 - 1


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, so that both sides are large enough multiples of 8."""
    missing_y = max(_SMALLEST - height, -height % _MULTIPLE)
    missing_x = max(_SMALLEST - width, -width % _MULTIPLE)
    return missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2
