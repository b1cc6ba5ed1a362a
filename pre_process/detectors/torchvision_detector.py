"""Any COCO detector of torchvision, by its name there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torchvision

from pre_process.detectors.base import Detector
from utils.errors import UserError
from utils.pretrained import torchvision_model

DEFAULT_MODEL = "fasterrcnn_resnet50_fpn"


class TorchvisionDetector(Detector):
    """A detection model of torchvision, run on batches of frames.

    Args:
        model: a name from ``torchvision.models.list_models(torchvision.models.detection)``;
            empty: ``fasterrcnn_resnet50_fpn``.
        weights: a state dict file of that model with its 91 COCO outputs, or the name of weights
            torchvision knows (``COCO_V1``); empty: torchvision's default ones.
        device: where it runs.

    Raises:
        UserError: unknown model or weights, weights that cannot be fetched, or of another model.
    """

    def __init__(self, model: str, weights: str, device: torch.device) -> None:
        name = model or DEFAULT_MODEL
        known = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in known:
            raise UserError(
                f"pre_process.boxes.model: {name!r} is no detector of torchvision; "
                f"known: {', '.join(known)}"
            )
        self._device = device
        network = torchvision_model(name, weights, "pre_process.boxes.weights")
        self._model = network.to(device).eval()

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See ``Detector.detect``."""
        if not frames:
            return []
        batch = [self._as_input(frame) for frame in frames]
        return [
            torch.cat([each["boxes"], each["scores"][:, None]], dim=1).float().cpu().numpy()
            for each in self._model(batch)
        ]

    def _as_input(self, frame: np.ndarray) -> torch.Tensor:
        rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).to(self._device)
        return rgb.permute(2, 0, 1).float() / 255
