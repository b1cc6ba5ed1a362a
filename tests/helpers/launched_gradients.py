"""In each of three processes: gradients of shared steps are those of one (for tests)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from engine.step import back_propagate
from torch import Tensor, nn

from losses.frd import AnomalyBank
from losses.frd_step import FRDStep
from losses.hf2vad import memae_loss
from models.frd.frd import FRD
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils import distributed
from utils.config.hf2vad import MemAEStageConfig
from utils.errors import UserError, exit_on_user_error

Result = dict[str, Tensor]


def own(rows: Tensor) -> Tensor:
    return rows[distributed.index() :: distributed.count()]


def gradients(model: nn.Module, loss: Callable[[], Result], items: int) -> Result:
    """Terms, gradients and buffers after one step of a copy of the model's state."""
    model.zero_grad(set_to_none=True)
    terms = back_propagate(loss(), items, model.parameters())
    found = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    return copy.deepcopy(terms | found | dict(model.named_buffers()))


def autoencoder_step(count: int) -> Result:
    """Four flows an item, so BatchNorm has four groups."""
    torch.manual_seed(0)
    model = MLMemAESC(2, 4, 0.0, (False, False, True, True)).train()
    flows = own(torch.randn(count, 8, 32, 32))
    return gradients(model, lambda: memae_loss(model(flows), flows, MemAEStageConfig()), len(flows))


def frd_steps(count: int) -> Result:
    """Two steps, the second with a bank that the first has filled."""
    torch.manual_seed(0)
    model = FRD(256, 2, disruption=0.0, dropout=0.0).train()
    step = FRDStep(AnomalyBank(5), "wlab", -9.0, {}, 0.5, torch.ones(99))
    for _ in range(2):
        items, rows = own(torch.randn(count, 2, 4, 256)), own(torch.arange(4 * count).view(-1, 4))
        result = gradients(model, lambda i=items, r=rows: step(model, r, i), len(items))
    return result | {"bank": step.bank.items}


def compare(alone: Result, together: Result) -> None:
    for name, expected in alone.items():
        if name.endswith(("conv1.bias", "conv2.bias")):  # zero but for rounding: norms follow
            continue
        size = expected.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(
            together[name] / size, expected / size, rtol=0, atol=2e-4, msg=lambda m, n=name: n + m
        )


@exit_on_user_error
def main() -> None:
    """Compare, then end with an error that all processes have."""
    cases = [(autoencoder_step, 7), (autoencoder_step, 2), (frd_steps, 8), (frd_steps, 2)]
    expected = [function(count) for function, count in cases]
    distributed.join()
    assert distributed.count() == 3
    for (function, count), alone in zip(cases, expected, strict=True):
        compare(alone, function(count))
    chosen = torch.arange(8) % 3 != 1
    rows = torch.arange(16.0).view(8, 2)
    assert torch.equal(distributed.pick_rows(own(rows), chosen), rows[chosen])
    assert torch.equal(distributed.gather_rows(own(rows)), rows)
    assert distributed.gather(distributed.index()) == [0, 1, 2]
    assert distributed.any_of(distributed.index() == 2) and not distributed.any_of(False)
    print(f"process {distributed.index()} agrees")
    raise UserError("all say this")


if __name__ == "__main__":
    main()
