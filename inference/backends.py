"""Errors of cubes as the extractor gives them, by PyTorch or by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from datasets.cubes.files import CUBE_SIZE, NUM_FLOWS, NUM_FRAMES
from datasets.cubes.loader import to_network_inputs
from models.hf2vad.from_checkpoint import errors_of, model_from_checkpoint
from models.hf2vad.fuse import fuse_for_inference
from utils.errors import UserError
from utils.files import sha256_file

# Maps appearance (B,5,32,32,3) uint8 and motion (B,4,32,32,2) float16 to named errors (B,).
CubeScorer = Callable[[np.ndarray, np.ndarray], dict[str, Any]]
CHECKPOINT_KEY = "checkpoint_sha256"  # in the metadata of an exported network


class ScoringNetwork(nn.Module):
    """From cubes as stored to their errors: conversion and network in one module.

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
        return errors_of(self.model, frames, flows)


class TorchScorer:
    """Scores cubes with PyTorch; a ``CubeScorer``."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._network = ScoringNetwork(model).to(device)
        self._device = device

    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Tensor]:
        """See ``CubeScorer``."""
        inputs = (torch.from_numpy(each).to(self._device) for each in (appearance, motion))
        return self._network(*inputs)


class OnnxScorer:
    """Scores cubes with an exported network; a ``CubeScorer``.

    Args:
        path: file written by ``export_onnx.py``.
        checkpoint: the checkpoint whose statistics will normalise the errors.

    Raises:
        UserError: no such file, not an exported network, or that of another checkpoint.
    """

    def __init__(self, path: Path, checkpoint: Path) -> None:
        remedy = f"run: python export_onnx.py --model {checkpoint}"
        if not path.is_file():
            raise UserError(f"{path}: no such exported network; {remedy}")
        try:
            self._session = open_session(path)
        except Exception as error:  # onnxruntime raises many kinds, without a common base
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: not a readable ONNX file ({reason}); {remedy}") from None
        found = self._session.get_modelmeta().custom_metadata_map.get(CHECKPOINT_KEY)
        if found != sha256_file(checkpoint):
            raise UserError(f"{path}: was not exported from {checkpoint} as it is now; {remedy}")
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
        """See ``CubeScorer``."""
        values = self._session.run(None, {"appearance": appearance, "motion": motion})
        return dict(zip(self._names, values, strict=True))


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU with as many threads as PyTorch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def random_cubes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cubes of noise in the stored format, to compare implementations on."""
    rng = np.random.default_rng(seed)
    appearance = rng.integers(0, 256, (count, NUM_FRAMES, CUBE_SIZE, CUBE_SIZE, 3), dtype=np.uint8)
    motion = 2 * rng.standard_normal((count, NUM_FLOWS, CUBE_SIZE, CUBE_SIZE, 2), np.float32)
    return appearance, motion.astype(np.float16)


def onnx_path(checkpoint: Path) -> Path:
    """Where the exported network of a checkpoint lies unless told otherwise: beside it."""
    return checkpoint.with_suffix(".onnx")


def build_scorer(
    backend: str, checkpoint: Mapping[str, Any], path: Path, device: torch.device
) -> CubeScorer:
    """The scorer of a checkpoint.

    Args:
        backend: ``torch`` or ``onnx``.
        checkpoint: as loaded from ``path``.
        device: for ``torch``; ``onnx`` runs on the CPU.

    Raises:
        UserError: weights that do not fit, or no exported network of this checkpoint.
    """
    if backend == "onnx":
        return OnnxScorer(onnx_path(path), path)
    return TorchScorer(model_from_checkpoint(checkpoint, str(path)), device)
