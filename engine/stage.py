"""What the training loop needs to know of a stage: network, data, loss, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Batches of an epoch, from any step on.

    A batch has a ``weight``: the share of this process in the step's loss, times the number of
    processes (1 where a process is alone, 0 where it has no item of this step).
    """

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Any]: ...


class StageTask:
    """One training stage; a script fills it in and hands it to ``engine.setup.train_stage``.

    It defines ``inputs`` and ``terms``, or ``loss`` where that keeps something from step to step.

    Attributes:
        model: on its device; parameters that do not require gradients stay as they are.
        loader: training batches, this process's share of them.
        fingerprint: identifies the training data and the weights that it starts from.
        optimizer: ``None``: Adam with the stage's settings.
        memory: what the loss itself keeps from step to step (with ``state_dict`` and
            ``load_state_dict``), so that it survives a stop.
    """

    model: nn.Module
    loader: EpochLoader
    fingerprint: str
    optimizer: torch.optim.Optimizer | None = None
    memory: Any = None

    def loss(self, model: nn.Module, batch: Any) -> LossTerms:
        """Named scalar terms of a batch, the weighted sum as ``total``."""
        return self.terms(model, *self.inputs(batch))

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """What ``terms`` reads of a batch, on the device."""
        raise NotImplementedError

    def terms(self, model: nn.Module, *inputs: Any) -> LossTerms:
        """``loss`` from tensors alone, so that it can be compiled with the network."""
        raise NotImplementedError

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """What the finished checkpoint tells of normal data (collective).

        Returns:
            ``statistics`` and, where there are any, ``threshold`` and ``calibration``.
        """
        raise NotImplementedError

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Named (H,W,3) uint8 BGR pictures for tensorboard."""
        return {}


@dataclass
class Stage:
    """A task with what the configuration says of it: name, folder, numbers.

    ``settings`` is the stage's block of the configuration, ``run`` the block ``run``.
    """

    system: str
    name: str
    folder: Path
    config: dict[str, Any]
    settings: Any
    run: Any
    task: StageTask


def require_same_run(checkpoint: dict[str, Any], stage: Stage, path: Path) -> None:
    """Resuming under other numbers would be neither the old run nor the new one."""
    free = {"num_epochs", "save_every_steps", "keep_every", "keep_flow_recon"}
    pairs = {
        "data or starting weights": (
            checkpoint["provenance"].get("data"), stage.task.fingerprint,
        ),
        "model": (checkpoint["config"].get("model"), stage.config.get("model")),
        "run.seed": (checkpoint["config"]["run"]["seed"], stage.config["run"]["seed"]),
    }  # fmt: skip
    old, new = checkpoint["config"].get(stage.name, {}), stage.config[stage.name]
    pairs |= {f"{stage.name}.{key}": (old.get(key), new.get(key)) for key in new if key not in free}
    changed = [key for key, (before, now) in pairs.items() if digest(before) != digest(now)]
    if changed:
        raise UserError(
            f"{path}: was trained with other values of {', '.join(changed)}; pass --restart to "
            "start over, or set another run.name to keep both"
        )
