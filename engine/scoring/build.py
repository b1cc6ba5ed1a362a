"""Which backend scores, and how it is made from a model or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.scoring.network import CubeScorer, TorchScorer
from engine.scoring.onnx_backend import OnnxScorer, onnx_path
from engine.scoring.openvino_backend import CompiledNetwork, OpenVINOScorer
from models.hf2vad.from_checkpoint import model_from_checkpoint
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.errors import UserError

BACKENDS = ("auto", "openvino", "torch", "onnx")


def resolve_backend(backend: str, device: torch.device) -> str:
    """``auto`` is OpenVINO on a CPU and PyTorch elsewhere.

    Raises:
        UserError: an unknown backend, or OpenVINO on a GPU.
    """
    if backend not in BACKENDS:
        raise UserError(f"scoring backend {backend!r}: take one of {', '.join(BACKENDS)}")
    on_cpu = device.type == "cpu"
    if backend == "auto":
        return "openvino" if on_cpu else "torch"
    if backend == "openvino" and not on_cpu:
        raise UserError(
            f"scoring backend openvino runs on the CPU, not on {device}; take backend torch, or "
            "set run.device=cpu"
        )
    return backend


def model_scorer(
    model: nn.Module, device: torch.device, backend: str = "auto", precision: str = "fp32"
) -> CubeScorer:
    """The scorer of a network at hand.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``; it stays as it is.
        device: where to compute.
        backend: ``auto``, ``openvino`` or ``torch``.
        precision: ``fp32`` or ``bf16``.
    """
    if resolve_backend(backend, device) == "openvino":
        return OpenVINOScorer(model, precision)
    return TorchScorer(model, device, precision)


def checkpoint_scorer(
    checkpoint: Mapping[str, Any],
    path: Path,
    device: torch.device,
    backend: str = "auto",
    precision: str = "fp32",
    model: nn.Module | None = None,
) -> CubeScorer:
    """The scorer of a checkpoint as loaded from ``path``; arguments as for ``model_scorer``.

    ``backend`` may also be ``onnx``: the network that ``export_onnx.py`` wrote beside ``path``.
    ``model`` is the checkpoint's network where it is built already.

    Raises:
        UserError: weights that do not fit, no exported network of this checkpoint, or a backend
            that cannot run on ``device`` or in ``precision``.
    """
    if backend == "onnx":
        if precision != "fp32":
            raise UserError("scoring backend onnx computes in float32; set eval.precision=fp32")
        return OnnxScorer(onnx_path(path), path)
    model = model or model_from_checkpoint(checkpoint, str(path))
    return model_scorer(model, device, backend, precision)


def flow_reconstructor(memae: MLMemAESC, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Maps flows (B, 8, 32, 32) float32 on ``device`` to their reconstructions, alike."""
    if resolve_backend("auto", device) == "openvino":
        compiled = CompiledNetwork(memae, num_flows=4)
        return lambda flows: compiled(flows)[0]
    fused = fuse_for_inference(memae)

    @torch.inference_mode()
    def reconstruct(flows: Tensor) -> Tensor:
        return fused(flows)["flow_recon"]

    return reconstruct
