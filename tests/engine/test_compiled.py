"""Compiled steps: the losses of plain ones, tried before they are used, left where they fail."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import torch._inductor.config

from engine import compiled
from engine.compiled import StepNetwork, proven
from tests.engine.test_trainer import Autoencoding, Batches, make_model, run_stage
from utils.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler on this machine"
)


def losses(folder) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["total"] for line in lines]


def gradients(network, batch) -> torch.Tensor:
    total = Autoencoding().loss(network, batch)["total"]
    total.backward()
    return total.detach()


@needs_compiler
def test_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path, monkeypatch):
    """With BatchNorm and dropout; each epoch's last batch is smaller and stays uncompiled."""
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)  # no pool of processes
    plain = run_stage(tmp_path / "plain", batch_size=10)
    fast = run_stage(tmp_path / "fast", batch_size=10, compiled="on")
    assert losses(tmp_path / "fast") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert fast["model"].keys() == plain["model"].keys()
    # Not 0.bias, which BatchNorm undoes: its gradient is rounding alone, and Adam enlarges it.
    for key in ("0.weight", "1.weight", "1.running_var", "3.weight", "3.bias"):
        torch.testing.assert_close(fast["model"][key], plain["model"][key], rtol=1e-3, atol=1e-4)


def trial(monkeypatch, change=lambda network: network, seconds=(2.0, 1.0)):
    """A trial of a network whose compiled equal is ``change`` of it and takes ``seconds[1]``."""
    network, batch = make_model().train(), next(Batches().epoch(0))
    monkeypatch.setattr(compiled, "compile_network", lambda plain, device: change(plain))
    clock = iter([0.0, 0.0, 5 * seconds[0], 0.0, 5 * seconds[1], 9.0])
    monkeypatch.setattr(compiled, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    chosen = proven(network, CPU, "fp32", batch, gradients)
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(each.grad is None for each in network.parameters())
    return chosen


def test_what_is_equal_and_faster_is_used(monkeypatch, capsys):
    assert trial(monkeypatch) is not None
    assert "run.compile: on; a step takes 2000.0 ms plain, 1000.0 ms compiled" in (
        capsys.readouterr().out
    )


def test_what_is_not_faster_is_left(monkeypatch, capsys):
    assert trial(monkeypatch, seconds=(1.0, 0.99)) is None
    assert "run.compile: off" in capsys.readouterr().out


def test_what_changes_the_loss_is_left(monkeypatch):
    class Doubled(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, rows):
            return 2 * self.network(rows)

    assert trial(monkeypatch, Doubled) is None


def test_a_compiler_that_fails_is_no_reason_not_to_train(monkeypatch, capsys):
    class Failing(torch.nn.Module):
        def forward(self, rows):
            raise RuntimeError("no Triton here\nand more")

    assert trial(monkeypatch, lambda _: Failing()) is None
    assert "run.compile: off, for it failed: no Triton here\n" in capsys.readouterr().out


def test_on_without_a_compiler_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"run\.compile.*no-such-compiler; install one"):
        StepNetwork(make_model(), "on", CPU, "fp32", True)


def test_auto_tries_once_and_only_where_it_may_pay(monkeypatch):
    tried = []
    monkeypatch.setattr(compiled, "proven", lambda *given: tried.append(given))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    network = make_model()
    for device, fixed in ((CPU, True), (CUDA, False)):
        StepNetwork(network, "auto", device, "fp32", fixed)(None, True, gradients)
    assert not tried
    networks = StepNetwork(network, "auto", CUDA, "fp32", True)
    for whole in (False, True, True):
        assert networks(None, whole, gradients) is network
    assert len(tried) == 1
