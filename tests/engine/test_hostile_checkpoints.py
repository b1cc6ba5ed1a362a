"""Edited checkpoints, resumed from: a clear error or a good end, never a crash."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from engine.state import TrainingState
from tests.engine.test_trainer import Batches, make_model, run_stage
from tests.helpers.edits import NASTY, places, replaced
from utils.checkpoint import load_checkpoint, load_tensors
from utils.errors import UserError


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A checkpoint of the middle of a training with an average."""
    folder = tmp_path_factory.mktemp("half")
    run_stage(folder, epochs=2, ema_decay=0.5)
    return load_tensors(folder / "last.pth")


def resume(folder, checkpoint, **settings):
    torch.save(checkpoint, folder / "last.pth")
    return run_stage(folder, epochs=3, **{"ema_decay": 0.5, **settings})


def test_as_it_is_it_resumes(half, tmp_path):
    assert resume(tmp_path, copy.deepcopy(half))["epoch"] == 3


WRONG = {
    "another shape": lambda each: each[:1],
    "another dtype": lambda each: each.double(),
    "integers": lambda each: each.int(),
    "sparse": lambda each: each.to_sparse() if each.ndim else each[None].to_sparse(),
    "meta": lambda each: each.to("meta"),
    "fewer values": lambda each: torch.zeros(1).expand(each.shape or (4,)),
    "no tensor": lambda each: 3,
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
def test_optimizer_values_of_another_kind(half, tmp_path, name, kind):
    state = half["training"]["optimizer"]["state"]
    hostile = replaced(
        half, ("training", "optimizer", "state", 0, name), WRONG[kind](state[0][name])
    )
    with pytest.raises(UserError, match=r"last\.pth: .*(0|exp_avg)"):
        resume(tmp_path, hostile)


@pytest.mark.parametrize("kind", [kind for kind in WRONG if kind != "integers"])
@pytest.mark.parametrize("part", [("model",), ("training", "model")])
def test_weights_of_another_kind(half, tmp_path, part, kind):
    own = half["model"]["0.weight"]
    with pytest.raises(UserError, match=r"0\.weight"):
        resume(tmp_path, replaced(half, (*part, "0.weight"), WRONG[kind](own)))


@pytest.mark.parametrize("name", ["state", "param_groups", "step", "extra"])
def test_optimizer_tables_that_do_not_fit(half, tmp_path, name):
    at = ("training", "optimizer")
    hostile = {
        "state": replaced(half, (*at, "state", 99), {}),
        "param_groups": replaced(half, (*at, "param_groups"), []),
        "step": replaced(half, (*at, "state", 0, "step"), torch.zeros(7)),
        "extra": replaced(half, (*at, "state", 0, "more"), torch.zeros(1)),
    }[name]
    with pytest.raises(UserError, match=r"optimizer|parameter"):
        resume(tmp_path, hostile)


def test_every_edit_of_every_table_ends_well(half, tmp_path):
    """In one test, since each edit takes a millisecond or two."""
    refused = 0
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-7, fused=True)
    for at, value in itertools.product(places(half), NASTY):
        torch.save(replaced(half, at, value), tmp_path / "last.pth")
        try:
            restore(tmp_path / "last.pth", model, optimizer)
        except UserError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{at} = {str(value)[:50]}") from error
    assert refused > 100


def restore(path, model, optimizer):
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1], 0.8)
    state = TrainingState(model, optimizer, scheduler, 0.5)
    state.restore(load_checkpoint(path), str(path))
    model(Batches().rows).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
