"""Feature extractors behind one small interface: frames of a snippet in, its crops' features out.

Frame size and colours are the backend's business: ``prepare`` takes each frame as it is read, so
that only small frames are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.config.frd import FeatureConfig
from utils.errors import UserError
from utils.runtime import pick_device


class Backbone(Protocol):
    """What an extractor offers; ``feature_size`` is D."""

    feature_size: int

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 BGR -> what is kept of a frame until its snippet is full."""

    def __call__(self, snippets: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """n snippets of prepared frames -> (n, crops, D) float32."""


def build_backbone(config: FeatureConfig, frames: int) -> Backbone:
    """Build the extractor that ``pre_process.features`` names; backends load when chosen.

    Args:
        config: the block ``pre_process.features``.
        frames: frames a snippet.

    Raises:
        UserError: weights missing or foreign, or snippets the backend cannot take.
    """
    if config.backend == "hof":
        from pre_process.features.hof import HOFBackbone

        return HOFBackbone(frames, config.crops)
    device = pick_device(config.device)
    if config.backend == "efficientnet_lite0":
        from pre_process.features.pictures import build_pictures

        return build_pictures(config.backend, config.weights, config.crops, frames, device)
    if not config.weights:
        raise UserError(
            f"pre_process.features.weights: backend {config.backend} needs weights (a file"
            f"{'' if config.backend == 'i3d_r50' else ', or KINETICS400_V1 to download them'}); "
            "backends hof and efficientnet_lite0 need none"
        )
    if config.backend == "i3d_r50":
        from pre_process.features.i3d import build_i3d

        return build_i3d(Path(config.weights), config.crops, frames, device)
    from pre_process.features.torchvision_video import build_torchvision

    return build_torchvision(config.backend, config.weights, config.crops, frames, device)
