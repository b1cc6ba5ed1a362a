"""In each of three processes: steps on uneven and empty shares are those of one (for tests)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from engine.gradients import make_accelerator
from losses.frd import AnomalyBank
from losses.frd_step import FRDStep
from losses.hf2vad import cvae_loss
from models.frd.frd import FRD
from models.hf2vad.vunet import VUnet
from utils import distributed
from utils.config.hf2vad import CVAEStageConfig
from utils.errors import exit_on_user_error

CPU = torch.device("cpu")


class Share(NamedTuple):
    rows: Tensor
    weight: float


def own(rows: Tensor, borrow: bool = False) -> Share:
    """This process's rows and how they count, as the cube loader deals them."""
    mine = rows[distributed.index() :: distributed.count()]
    weight = len(mine) * distributed.count() / len(rows)
    return Share(mine if len(mine) or not borrow else rows[:1], weight)


def gradients(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """Gradients of one step, shared by all processes."""
    wrapped = model
    if distributed.count() > 1:
        AcceleratorState._reset_state(True)
        wrapped = make_accelerator(CPU).prepare_model(model)
    loss(wrapped).backward()
    return copy.deepcopy({name: p.grad for name, p in model.named_parameters()})


def frame_step(count: int) -> dict[str, Tensor]:
    """A frame predictor (no BatchNorm in it); latents are not sampled."""
    torch.manual_seed(0)
    model = VUnet(8, 4, dropout=0.0).train()
    share = own(torch.rand(count, 23, 32, 32), borrow=True)
    history, flows, target = share.rows.split([12, 8, 3], dim=1)

    def loss(wrapped: nn.Module) -> Tensor:
        output: Mapping[str, Any] = wrapped(history, flows, sample=False)
        terms = cvae_loss({**output, "frame_target": target}, CVAEStageConfig())
        return terms["total"] * share.weight

    return gradients(model, loss)


def frd_step(count: int) -> dict[str, Tensor]:
    """The second of two steps, with a bank that the first has filled."""
    torch.manual_seed(0)
    model = FRD(256, 2, disruption=0.0, dropout=0.0).train()
    step = FRDStep(AnomalyBank(5), "wlab", -9.0, {}, 0.5, torch.ones(99))
    for _ in range(2):
        items, rows = own(torch.randn(count, 2, 4, 256)), own(torch.arange(4 * count).view(-1, 4))
        model.zero_grad()
        result = gradients(model, lambda net, i=items, r=rows: step(net, r.rows, i.rows)["total"])
    return result | {"bank": step.bank.items}


def compare(alone: Mapping[str, Tensor], together: Mapping[str, Tensor]) -> None:
    for name, expected in alone.items():
        size = expected.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(
            together[name] / size, expected / size, rtol=0, atol=2e-4, msg=lambda m, n=name: n + m
        )


@exit_on_user_error
def main() -> None:
    """Compare; the functions that gather are tried by the way."""
    cases = [(frame_step, 7), (frame_step, 2), (frd_step, 8), (frd_step, 2)]
    expected = [function(count) for function, count in cases]
    distributed.initialise()
    assert distributed.count() == 3
    for (function, count), alone in zip(cases, expected, strict=True):
        compare(alone, function(count))
    rows = torch.arange(16.0).view(8, 2)
    assert torch.equal(distributed.gather_interleaved_rows(own(rows).rows), rows)
    assert distributed.all_gather_object(distributed.index()) == [0, 1, 2]
    assert distributed.any_of(distributed.index() == 2) and not distributed.any_of(False)
    print(f"process {distributed.index()} agrees")


if __name__ == "__main__":
    main()
