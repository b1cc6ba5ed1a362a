"""The scoring network: from cubes as they are stored to their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.cubes.files import CUBE_SIZE, NUM_FLOWS, NUM_FRAMES
from datasets.cubes.loader import to_network_inputs
from models.hf2vad.errors import cube_errors, stage1_errors
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import HF2VAD
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.runtime import autocast
from utils.transfer import send

# Maps appearance (B,5,32,32,3) uint8 and motion (B,4,32,32,2) float16 to named errors (B,).
CubeScorer = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


class ScoringNetwork(nn.Module):
    """Conversion of stored cubes, network and errors in one module.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``; a faster equal copy of it is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = fuse_for_inference(model)
        self.eval()

    def forward(self, appearance: Tensor, motion: Tensor) -> dict[str, Tensor]:
        """Errors of cubes, each (B,) float32; see ``models.hf2vad.errors``.

        Args:
            appearance: (B,5,32,32,3) uint8 BGR.
            motion: (B,4,32,32,2) float16 pixels.
        """
        frames, flows = to_network_inputs(appearance, motion, appearance.device)
        return network_errors(self.model, frames, flows)


def network_errors(model: nn.Module, frames: Tensor, flows: Tensor) -> dict[str, Tensor]:
    """Errors of cubes by whichever of the two networks ``model`` is; see ``models.hf2vad.errors``.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD`` in evaluation mode.
        frames: (B,15,32,32) in [0,1].
        flows: (B,8,32,32), pixels.
    """
    if isinstance(model, MLMemAESC):
        return stage1_errors(model, flows)
    assert isinstance(model, HF2VAD)
    return cube_errors(model, frames, flows)


class TorchScorer:
    """Scores cubes with PyTorch; a ``CubeScorer``, and the reference of the other backends.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``.
        device: where to compute.
        precision: ``bf16``: convolutions and matrix products in bfloat16; squared differences and
            their sums stay float32.
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: str = "fp32") -> None:
        self._network = ScoringNetwork(model).to(device)
        self._device, self._precision = device, precision

    @torch.inference_mode()
    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Tensor]:
        """See ``CubeScorer``; the errors stay on the device."""
        inputs = (send(torch.as_tensor(each), self._device) for each in (appearance, motion))
        with autocast(self._device, self._precision):
            return self._network(*inputs)


def random_cubes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise as cubes are stored: (count,5,32,32,3) uint8 and (count,4,32,32,2) float16."""
    rng = np.random.default_rng(seed)
    appearance = rng.integers(0, 256, (count, NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 3), dtype=np.uint8)
    motion = 2 * rng.standard_normal((count, NUM_FLOWS, CUBE_SIZE, CUBE_SIZE, 2), np.float32)
    return appearance, motion.astype(np.float16)
