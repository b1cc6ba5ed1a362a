"""Everything that training changes, as one object that can be saved and restored."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn

from engine.resumed import match_layouts, optimizer_state, require_training_state, schedule_state
from utils import distributed
from utils.errors import UserError
from utils.runtime import random_states, restore_random_states, seed_by_rank


class WeightAverage:
    """Exponential average of parameters and BatchNorm statistics.

    The decay rises as (1 + n) / (10 + n) up to ``decay``, so that short runs do not average in
    their first steps. The count n is a number of the host: torch's ``AveragedModel`` asks the
    device for it, which makes the host wait for a GPU in every step.

    Args:
        model: what to average; a copy of it is the first average.

    Attributes:
        module: the average.
        count: updates so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module, self.decay, self.count = copy.deepcopy(model), decay, 0
        self._model: nn.Module | None = None
        self._floats = self._others = _Pairs([], [])

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Fold the model of one more step in; the first time it is copied."""
        if self._model is not model:
            self._pair(model)
        if self.count == 0:
            torch._foreach_copy_(*self._floats)
        else:
            keep = min(self.decay, (1 + self.count) / (10 + self.count))
            torch._foreach_lerp_(*self._floats, 1 - keep)
        if self._others.average:
            torch._foreach_copy_(*self._others)
        self.count += 1

    def _pair(self, model: nn.Module) -> None:
        """Note which tensors belong together; to list them takes a CPU longer than to average."""
        pairs = list(
            zip(self.module.state_dict().values(), model.state_dict().values(), strict=True)
        )
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        others = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._model = model
        self._floats, self._others = (
            _Pairs([a for a, _ in each], [m for _, m in each]) for each in (floats, others)
        )


class _Pairs(NamedTuple):
    average: list[torch.Tensor]
    model: list[torch.Tensor]


class TrainingState:
    """Model, average, optimizer, schedule and counters of one stage."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        ema_decay: float,
        memory: Any = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average = WeightAverage(model, ema_decay) if ema_decay > 0 else None
        self.memory = memory
        self.epoch = 0  # epochs completed
        self.step_in_epoch = 0
        self.step = 0  # steps completed, over all epochs
        self.loss_sums: dict[str, float] = {}  # of the running epoch

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that scores are made with: the average where there is one."""
        return self.average.module if self.average is not None else self.model

    def after_step(self) -> None:
        """Count a finished optimizer step and fold it into the average."""
        self.step += 1
        self.step_in_epoch += 1
        if self.average is not None:
            self.average.update(self.model)

    def after_epoch(self) -> None:
        """Close an epoch: advance the schedule, reset what belongs to the epoch."""
        self.epoch += 1
        self.step_in_epoch = 0
        self.loss_sums = {}
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, as tensors and plain containers (collective)."""
        # First, for a memory may draw numbers to get ready.
        memory = {} if self.memory is None else {"memory": self.memory.state_dict()}
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "step_in_epoch": self.step_in_epoch,
            "loss_sums": dict(self.loss_sums),
            "random": distributed.all_gather_object(random_states()),
            **memory,
        }
        if self.average is not None:
            state["model"] = self.model.state_dict()
            state["n_averaged"] = self.average.count
        return state

    def restore(self, checkpoint: dict[str, Any], source: str) -> None:
        """Continue exactly where ``checkpoint`` was written.

        Raises:
            UserError: the checkpoint holds another kind of training state.
        """
        require_training_state(checkpoint, self.model, self.optimizer, source)
        training = checkpoint["training"]
        if ("model" in training) != (self.average is not None):
            raise UserError(f"{source}: written with another ema_decay; resume with the same one")
        self.model.load_state_dict(training.get("model", checkpoint["model"]))
        if self.average is not None:
            self.average.module.load_state_dict(checkpoint["model"])
            self.average.count = training["n_averaged"]
        if self.memory is not None:
            self.memory.load_state_dict(training.get("memory", {}))
        self.optimizer.load_state_dict(optimizer_state(training["optimizer"], self.optimizer))
        match_layouts(self.optimizer)
        self.scheduler.load_state_dict(schedule_state(training["scheduler"]))
        self.epoch, self.step = checkpoint["epoch"], checkpoint["step"]
        self.step_in_epoch = training["step_in_epoch"]
        self.loss_sums = dict(training["loss_sums"])
        self._restore_random(training["random"], source)

    def _restore_random(self, saved: Any, source: str) -> None:
        """Each process its own; of other many processes only the first goes on as it was."""
        states = saved if isinstance(saved, list) else [saved]  # one dict: of older checkpoints
        if distributed.is_first() or len(states) == distributed.count():
            try:
                restore_random_states(states[distributed.index()])
            except (RuntimeError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise UserError(
                    f"{source}: its random states are damaged ({str(error)[:200]}); take a kept "
                    "epoch, or pass --restart"
                ) from None
        else:
            seed_by_rank(self.step)
