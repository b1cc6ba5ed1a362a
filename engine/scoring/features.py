"""Features of cubes that densities compare: a backbone's of the picture, a histogram of flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engine.scoring.openvino_backend import CompiledModule
from evaluation.densities.densities import Features
from evaluation.densities.velocity import velocity_features
from models.backbones.backbone import Backbone
from models.backbones.build import build_backbone
from utils.config.scoring import AppearanceConfig
from utils.runtime import autocast
from utils.transfer import send


class CubeFeatures:
    """Maps cubes as they are stored to features.

    Args:
        kinds: ``appearance``, ``velocity`` or both.
        settings: of the backbone.
        device: where to compute.
        compiled: by OpenVINO, on the CPU.
        precision: ``fp32`` or ``bf16``, of the backbone.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        settings: AppearanceConfig,
        device: torch.device,
        compiled: bool,
        precision: str = "fp32",
    ) -> None:
        self._kinds = kinds
        self._network: Callable[[Tensor], np.ndarray] | None = None
        if "appearance" in kinds:
            backbone = build_backbone(
                settings.backbone, settings.weights, settings.size, settings.layer
            )
            make = _compiled if compiled else _on_device
            self._network = make(backbone, device, precision)

    def __call__(self, appearance: np.ndarray, motion: np.ndarray) -> Features:
        """Features of n cubes.

        Args:
            appearance: (n,5,32,32,3) uint8 BGR; the last picture counts.
            motion: (n,4,32,32,2) float16, pixels; the last flow counts.

        Returns:
            ``appearance`` (n,d) and ``velocity`` (n,8) float32, as far as asked for.
        """
        features: Features = {}
        if self._network is not None:
            rgb = np.ascontiguousarray(appearance[:, -1, :, :, ::-1].transpose(0, 3, 1, 2))
            features["appearance"] = self._network(torch.from_numpy(rgb).float() / 255)
        if "velocity" in self._kinds:
            features["velocity"] = velocity_features(motion)
        return features


def _compiled(
    backbone: Backbone, device: torch.device, precision: str
) -> Callable[[Tensor], np.ndarray]:
    network = CompiledModule(_AsTuple(backbone), [torch.zeros(2, 3, 32, 32)], precision)
    return lambda pictures: network(pictures)[0].numpy()


def _on_device(
    backbone: Backbone, device: torch.device, precision: str
) -> Callable[[Tensor], np.ndarray]:
    network = backbone.to(device)

    @torch.inference_mode()
    def run(pictures: Tensor) -> np.ndarray:
        with autocast(device, precision):
            return on_host(network(send(pictures, device)).float())

    return run


def on_host(values: Tensor) -> np.ndarray:
    """What a GPU computed, once it has."""
    return values.cpu().numpy()


class _AsTuple(nn.Module):
    """What is traced must return a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        return (self.network(pictures),)
