"""The training state in a checkpoint, compared with the stage's own before any of it is used.

Fused optimizers trust shapes and dtypes of their state: a wrong one is memory of somebody else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from utils.checkpoint import require_same_tensors
from utils.errors import UserError
from utils.untrusted.tensors import require_plain_tensors

_PARTS = ("optimizer", "scheduler", "step_in_epoch", "loss_sums", "random")
_SCHEDULE = ("last_epoch", "_step_count", "_last_lr")


def require_training_state(
    checkpoint: Mapping[str, Any],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    source: str,
) -> None:
    """Refuse a training state that is not this stage's.

    Args:
        checkpoint: as read by ``utils.checkpoint.load_checkpoint``.
        model: the network; the optimizer is of its parameters.
        optimizer: as it is made for the stage.
        source: the checkpoint's path, for messages.

    Raises:
        UserError: names what is missing or of another kind, shape or dtype.
    """
    training = checkpoint.get("training", {})
    missing = [part for part in _PARTS if part not in training]
    _require(not missing, source, f"lacks {', '.join(missing)}")
    for tensors in (checkpoint["model"], training.get("model", checkpoint["model"])):
        _require(isinstance(tensors, dict), source, "holds weights that are no table")
        require_plain_tensors(tensors, source)
        require_same_tensors(model.state_dict(), tensors, source)
        _require_same_dtypes(model.state_dict(), tensors, source)
    _require_counts(checkpoint, training, source)
    _require_schedule(training["scheduler"], checkpoint["epoch"], source)
    _require_optimizer(training["optimizer"], optimizer, source)


def schedule_state(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What moves in a schedule; the rest is the configuration's."""
    return {key: saved[key] for key in _SCHEDULE}


def optimizer_state(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The saved values, in groups with the configuration's settings and the scheduled rate."""
    groups = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    return {
        "state": saved["state"],
        "param_groups": [own | {"lr": each["lr"]} for own, each in groups],
    }


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Give what an optimizer keeps the memory layout of its parameters.

    Fused optimizers walk through both in one order, whatever their strides say, and a checkpoint
    may be from a machine that lays out weights otherwise.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if name != "step" and torch.is_tensor(value):
                state[name] = torch.empty_like(parameter).copy_(value)


def _require(condition: bool, source: str, fault: str) -> None:
    if not condition:
        raise UserError(
            f"{source}: its training state {fault}; take a kept epoch, or pass --restart"
        )


def _require_same_dtypes(
    own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], source: str
) -> None:
    for name, tensor in own.items():
        _require(
            tensors[name].dtype == tensor.dtype, source,
            f"holds {name} as {tensors[name].dtype} instead of {tensor.dtype}",
        )  # fmt: skip


def _require_counts(
    checkpoint: Mapping[str, Any], training: Mapping[str, Any], source: str
) -> None:
    here, sums = training["step_in_epoch"], training["loss_sums"]
    _require(
        type(here) is int and 0 <= here <= checkpoint["step"], source,
        "holds a step_in_epoch that is no step of the run",
    )  # fmt: skip
    averaged = training.get("n_averaged", 0)
    whole = type(averaged) is int and ("model" in training) == ("n_averaged" in training)
    _require(
        whole and 0 <= averaged <= checkpoint["step"], source, "holds no count of averaged steps"
    )
    memory = training.get("memory", {})
    _require(isinstance(memory, dict), source, "holds a memory that is no table")
    require_plain_tensors(memory, source)
    plain = isinstance(sums, dict) and all(
        isinstance(name, str) and type(value) is float and math.isfinite(value)
        for name, value in sums.items()
    )
    _require(plain, source, "holds loss_sums that are no finite numbers")


def _require_schedule(saved: Any, epoch: int, source: str) -> None:
    whole = isinstance(saved, dict) and all(key in saved for key in _SCHEDULE)
    whole = whole and all(type(saved[key]) is int for key in _SCHEDULE[:2])
    whole = whole and saved["last_epoch"] == epoch
    rates = saved.get("_last_lr") if whole else None
    whole = isinstance(rates, list) and all(_is_rate(rate) for rate in rates)
    _require(whole, source, "holds a schedule that is not of its epoch")


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _require_optimizer(saved: Any, optimizer: torch.optim.Optimizer, source: str) -> None:
    own = optimizer.state_dict()["param_groups"]
    groups = saved.get("param_groups") if isinstance(saved, dict) else None
    alike = isinstance(groups, list) and len(groups) == len(own)
    alike = alike and all(map(_is_same_group, groups or (), own))
    _require(alike, source, "holds optimizer settings of another kind")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    states = saved.get("state")
    _require(
        isinstance(states, dict) and set(states) <= set(range(len(parameters))), source,
        "holds optimizer values of other parameters",
    )  # fmt: skip
    for number, state in states.items():
        shape, dtype = parameters[number].shape, parameters[number].dtype
        _require(isinstance(state, dict), source, f"of parameter {number} is no table")
        _require(
            state.keys() == _state_keys(optimizer), source,
            f"of parameter {number} holds {', '.join(map(str, state))}"[:300],
        )  # fmt: skip
        is_none = {name for name in state if name == "momentum_buffer" and state[name] is None}
        tensors = {name: value for name, value in state.items() if name not in is_none}
        require_plain_tensors(tensors, f"{source}: optimizer, parameter {number}")
        for name, tensor in tensors.items():
            expected = ((), torch.float32) if name == "step" else (shape, dtype)
            _require(
                (tensor.shape, tensor.dtype) == expected, source,
                f"holds {name} of parameter {number} as {tuple(tensor.shape)} {tensor.dtype} "
                f"instead of {tuple(expected[0])} {expected[1]}",
            )  # fmt: skip


def _is_same_group(saved: Any, own: Mapping[str, Any]) -> bool:
    """Whether a group is of the same parameters and has a rate; the rest is the configuration's."""
    if not isinstance(saved, dict) or not {"params", "lr"} <= saved.keys():
        return False
    numbers = saved["params"]
    whole = type(numbers) is list and all(type(number) is int for number in numbers)
    return whole and numbers == own["params"] and _is_rate(saved["lr"])


def _state_keys(optimizer: torch.optim.Optimizer) -> set[str]:
    """What the two kinds of optimizers keep for a parameter (as their state dicts name it)."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if optimizer.defaults["momentum"] else set()
    return {"step", "exp_avg", "exp_avg_sq"}
