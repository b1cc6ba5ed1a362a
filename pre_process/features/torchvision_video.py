"""Torchvision's video networks as snippet feature extractors (512 to 1024 values)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from pre_process.features.network import NetworkBackbone
from utils.checkpoint import load_tensors, load_weights
from utils.errors import UserError

HEADS = {"s3d": "classifier", "mvit": "head", "swin3d": "head"}  # others: fc


def build_torchvision(
    name: str, weights: str, crops: int, frames: int, device: torch.device
) -> NetworkBackbone:
    """One of torchvision's video networks without its head.

    Args:
        name: such as ``r3d_18``.
        weights: a state dict file, or a name of torchvision's weights, which are downloaded.

    Raises:
        UserError: unknown or unreachable weights, or a file of another network.
    """
    known = get_model_weights(name)
    network = get_model(name)
    if weights in known.__members__:
        network.load_state_dict(_download(known[weights], weights))
    elif Path(weights).is_file():
        load_weights(network, load_tensors(weights), weights)
    else:
        raise UserError(
            f"pre_process.features.weights: {weights!r} is no file and none of "
            f"{', '.join(known.__members__)}"
        )
    head = next((part for prefix, part in HEADS.items() if name.startswith(prefix)), "fc")
    setattr(network, head, nn.Identity())
    preset = known.DEFAULT.transforms()
    return NetworkBackbone(
        network,
        resize=preset.resize_size,
        crop=preset.crop_size[0],
        mean=preset.mean,
        deviation=preset.std,
        crops=crops,
        frames=frames,
        device=device,
    )


def _download(weights: Any, name: str) -> dict[str, torch.Tensor]:
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"pre_process.features.weights: {name} could not be downloaded ({error}); fetch "
            f"{weights.url} elsewhere and name the file"
        ) from None
