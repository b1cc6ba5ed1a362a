"""The published optimizer."""

from __future__ import annotations

from typing import Any

import torch


def adam(parameters: Any, settings: Any, device: torch.device) -> torch.optim.Optimizer:
    """The published optimizer; one fused kernel a step where the device has it."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.Adam(
        trainable,
        lr=settings.lr,
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
