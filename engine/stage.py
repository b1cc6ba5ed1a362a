"""What a training stage is, to the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from utils.errors import UserError
from utils.files import digest

LossTerms = dict[str, torch.Tensor]


class EpochLoader(Protocol):
    """What the engine asks of a loader: its length, and an epoch's batches from any step on."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Any]: ...


@dataclass
class Stage:
    """One training stage, as the engine sees it.

    ``loss`` maps (model, batch) to named scalar terms with the weighted sum as ``total``;
    ``describe_normal`` maps the finished model to what its checkpoint tells of normal data:
    ``statistics`` and, where there are any, ``threshold`` and ``calibration``. ``pictures`` maps
    the model to named (H,W,3) uint8 BGR pictures. ``settings`` is the stage's block of the config.
    ``memory`` is what the loss itself keeps from step to step (``state_dict``,
    ``load_state_dict``), so that it survives a stop.
    """

    system: str
    name: str
    folder: Path
    config: dict[str, Any]
    settings: Any
    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: EpochLoader
    loss: Callable[[nn.Module, Any], LossTerms]
    describe_normal: Callable[[nn.Module], dict[str, Any]]
    fingerprint: str
    pictures: Callable[[nn.Module], dict[str, np.ndarray]] | None = None
    memory: Any = None


def require_same_run(checkpoint: dict[str, Any], stage: Stage, path: Path) -> None:
    """Resuming under other numbers would be neither the old run nor the new one."""
    free = {"num_epochs", "save_every_steps", "keep_every", "keep_flow_recon"}
    pairs = {
        "data or starting weights": (checkpoint["provenance"].get("data"), stage.fingerprint),
        "model": (checkpoint["config"].get("model"), stage.config.get("model")),
        "run.seed": (checkpoint["config"]["run"]["seed"], stage.config["run"]["seed"]),
    }
    old, new = checkpoint["config"].get(stage.name, {}), stage.config[stage.name]
    pairs |= {f"{stage.name}.{key}": (old.get(key), new.get(key)) for key in new if key not in free}
    changed = [key for key, (before, now) in pairs.items() if digest(before) != digest(now)]
    if changed:
        raise UserError(
            f"{path}: was trained with other values of {', '.join(changed)}; pass --restart to "
            "start over, or set another run.name to keep both"
        )
