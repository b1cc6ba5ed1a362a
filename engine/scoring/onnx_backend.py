"""Errors of cubes by ONNX Runtime, with a network exported beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from utils.errors import UserError
from utils.files import sha256_file

CHECKPOINT_KEY = "checkpoint_sha256"  # in the metadata of an exported network


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
        exported_from = self._session.get_modelmeta().custom_metadata_map.get(CHECKPOINT_KEY)
        if exported_from != sha256_file(checkpoint):
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


def onnx_path(checkpoint: Path) -> Path:
    """Where the exported network of a checkpoint lies by default: beside it."""
    return checkpoint.with_suffix(".onnx")
