"""Which backend scores, and how it is made from a model or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.scoring.density_scorer import DensityScorer, FlowEnergyScorer
from engine.scoring.features import CubeFeatures
from engine.scoring.network import CubeScorer, TorchScorer
from engine.scoring.onnx_backend import OnnxScorer, onnx_path
from engine.scoring.openvino_backend import CompiledNetwork, OpenVINOScorer
from evaluation.densities.densities import Densities
from evaluation.scores import DENSITIES
from models.backbones.build import backbone_identity
from models.hf2vad.from_checkpoint import model_from_checkpoint
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.config.scoring import AppearanceConfig
from utils.errors import UserError
from utils.threads.count import has_idle_cores

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


def checkpoint_model(
    checkpoint: Mapping[str, Any], path: Path | None, device: torch.device
) -> nn.Module | None:
    """``model_from_checkpoint`` on a device; ``None`` where the checkpoint has no network."""
    model = model_from_checkpoint(checkpoint, str(path))
    return None if model is None else model.to(device)


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


def density_scorer(
    errors: CubeScorer,
    densities: Densities,
    settings: AppearanceConfig,
    device: torch.device,
    source: str,
    backend: str = "auto",
    precision: str = "fp32",
) -> DensityScorer:
    """A scorer with distances to normal cubes added.

    Args:
        errors: of the network.
        densities: what is compared with.
        settings: of the backbone.
        device: where to compute.
        source: of the densities, for messages.
        backend, precision: as for ``model_scorer``; ``onnx`` is taken as ``auto``.

    Raises:
        UserError: the backbone is not there, or is another than the densities were made with.
    """
    if densities.backbone:
        now = backbone_identity(settings.backbone, settings.weights, settings.size, settings.layer)
        if now != dict(densities.backbone):
            raise UserError(
                f"{source}: its appearance density was made with the backbone "
                f"{_described(densities.backbone)}, but here density.appearance names "
                f"{_described(now)}: give that file, package or size, or fit the densities again "
                "(density_fit.py)"
            )
    on_cpu = device.type == "cpu"
    compiled = on_cpu and (backend == "onnx" or resolve_backend(backend, device) == "openvino")
    features = CubeFeatures(list(densities.banks), settings, device, compiled, precision)
    return DensityScorer(errors, features, densities, beside=on_cpu and has_idle_cores())


def _described(backbone: Mapping[str, str]) -> str:
    chosen = "".join(f", {key} {backbone[key]}" for key in ("size", "layer") if key in backbone)
    return f"{backbone['name']} ({backbone['weights'][:12]}{chosen})"


def checkpoint_scorer(
    checkpoint: Mapping[str, Any],
    path: Path,
    device: torch.device,
    backend: str = "auto",
    precision: str = "fp32",
    model: nn.Module | None = None,
    backbone: AppearanceConfig | None = None,
) -> CubeScorer:
    """The scorer of a checkpoint as loaded from ``path``; arguments as for ``model_scorer``.

    ``backend`` may also be ``onnx``: the network that ``export_onnx.py`` wrote beside ``path``.
    ``model`` is the checkpoint's network where it is built already; ``backbone`` says where the
    weights behind its appearance density are, if not where they were in training.

    Raises:
        UserError: weights that do not fit, no exported network of this checkpoint, a backend
            that cannot run on ``device`` or in ``precision``, or no such backbone.
    """
    errors = _network_scorer(checkpoint, path, device, backend, precision, model)
    if not checkpoint.get("densities"):
        if lacking := set(DENSITIES) & set(checkpoint.get("statistics") or {}):
            raise UserError(
                f"{path}: its densities of {', '.join(sorted(lacking))} are missing; fit them "
                "again (density_fit.py)"
            )
        return errors
    densities = Densities.of(checkpoint["densities"], str(path))
    settings = backbone or AppearanceConfig(**checkpoint["config"]["density"]["appearance"])
    return density_scorer(errors, densities, settings, device, str(path), backend, precision)


def configured_scorer(
    checkpoint: Mapping[str, Any],
    path: Path,
    device: torch.device,
    config: Any,
    backend: str = "",
    model: nn.Module | None = None,
) -> CubeScorer:
    """``checkpoint_scorer`` as a configuration says; ``backend`` is taken before its own."""
    settings, backbone = config.eval, config.density.appearance
    backend = backend or settings.backend
    return checkpoint_scorer(checkpoint, path, device, backend, settings.precision, model, backbone)


def _network_scorer(
    checkpoint: Mapping[str, Any],
    path: Path,
    device: torch.device,
    backend: str,
    precision: str,
    model: nn.Module | None,
) -> CubeScorer:
    if backend == "onnx":
        if precision != "fp32":
            raise UserError("scoring backend onnx computes in float32; set eval.precision=fp32")
        return OnnxScorer(onnx_path(path), path)
    model = model or model_from_checkpoint(checkpoint, str(path))
    if model is None:
        return FlowEnergyScorer()
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
