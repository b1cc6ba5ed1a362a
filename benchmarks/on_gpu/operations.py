"""How many operations a training step starts: on a GPU each is a kernel or more to be launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.on_gpu.networks import Sizes, computing_in, cubes, frd_inputs, new_model, stage_loss
from utils.runtime import in_device_layout

_NO_KERNEL = ("empty", "new_empty", "_unsafe_view", "alias", "detach")


class Operations(NamedTuple):
    """Operations that compute something (views and allocations do not)."""

    forward: int
    backward: int


class OperationCount(TorchDispatchMode):
    """Counts the operations inside; ``names`` says which and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, int] = {}

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.names.values())

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        name = operation.__name__
        if not (operation.is_view or name.startswith(_NO_KERNEL)):
            self.names[name] = self.names.get(name, 0) + 1
        return operation(*arguments, **(named or {}))


def count(loss: Callable[[], Tensor]) -> Operations:
    """Operations of a loss and of its gradients, as a GPU would do them.

    On a CPU dropout is taken apart; here it is one operation, as on a GPU.
    """
    fused = mock.patch.object(F, "dropout", lambda x, p, training, *_: _dropout(x, p, training))
    with OperationCount() as forward, fused:
        value = loss()
    with OperationCount() as backward:
        value.backward()
    return Operations(forward.total, backward.total)


def stage_operations(
    sizes: Sizes, stage: str, device: torch.device, precision: str = "fp32"
) -> Operations:
    """Of a step of HF2-VAD's ``stage1``, ``stage2`` or ``stage3``, without the optimizer's."""
    model = in_device_layout(new_model(sizes), torch.device("cuda")).to(device).train()
    if stage == "stage2":
        model.freeze_memae()
    batch = cubes(sizes.checked, device, 0)
    with computing_in(device, precision):
        return count(lambda: stage_loss(stage, model.memae if stage == "stage1" else model, *batch))


def frd_operations(sizes: Sizes, device: torch.device, precision: str = "fp32") -> Operations:
    """Of a step of FRD-UVAD with a full bank, without the optimizer's."""
    model, step, rows, features = frd_inputs(sizes, device)
    with computing_in(device, precision):
        return count(lambda: step(model, rows, features.float())["total"])


def _dropout(x: Tensor, share: float, training: bool) -> Tensor:
    return torch.native_dropout(x, share, training)[0] if training else x
