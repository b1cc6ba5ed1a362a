"""Compiled steps: the losses of plain ones, tried before they are used, left where they fail."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import torch._inductor.config

from engine import compiled
from engine.compiled import StepLoss, Trial, accept_compiled
from engine.stage import StageTask
from finetune import JointTraining
from models.hf2vad.hf2vad import build_hf2vad
from tests.engine.test_cuda_devices import cube_batch, task_of
from tests.engine.test_trainer import Autoencoding, Batch, Batches, make_model, run_stage
from tests.helpers.fabricated import MEMAE, VUNET
from utils.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler on this machine"
)


def losses(folder) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["total"] for line in lines]


def gradients(loss, batch) -> torch.Tensor:
    total = loss(batch)["total"]
    total.backward()
    return total


class PureAutoencoding(StageTask):
    """As ``Autoencoding``, with a loss that is compiled with the network."""

    def inputs(self, batch):
        return (batch.rows,)

    def terms(self, model, rows):
        return Autoencoding().loss(model, Batch(rows, 1.0))

    def describe_normal(self, model):
        return Autoencoding().describe_normal(model)


@needs_compiler
def test_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path, monkeypatch):
    """With BatchNorm and dropout; each epoch's last batch is smaller and stays uncompiled."""
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)  # no pool of processes
    plain = run_stage(tmp_path / "plain", batch_size=10, task=PureAutoencoding())
    fast = run_stage(tmp_path / "fast", batch_size=10, task=PureAutoencoding(), compiled="on")
    assert losses(tmp_path / "fast") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    assert fast["model"].keys() == plain["model"].keys()
    # Not 0.bias, which BatchNorm undoes: its gradient is rounding alone, and Adam enlarges it.
    for key in ("0.weight", "1.weight", "1.running_var", "3.weight", "3.bias"):
        torch.testing.assert_close(fast["model"][key], plain["model"][key], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(torch.__version__ < (2, 10), reason="PyTorch 2.9 breaks the graph at contexts")
def test_stage_3_is_one_graph_with_its_loss():
    """A break would end a GPU's recorded graph; stages 1 and 2 are parts of this one."""
    task = task_of(JointTraining, build_hf2vad(MEMAE, VUNET), CPU)
    network = StepLoss(task, task.model, "off", CPU, "fp32").terms
    whole = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    inputs, results = task.inputs(cube_batch()), []
    for terms in (whole, network):
        torch.manual_seed(0)
        results.append({name: term.detach() for name, term in terms(*inputs).items()})
    torch.testing.assert_close(*results)


def trial(monkeypatch, change=lambda terms: terms, seconds=(2.0, 1.0)):
    """A trial of a loss whose compiled equal is ``change`` of it and takes ``seconds[1]``."""
    network, batch = make_model().train(), next(Batches().epoch(0))
    clock = iter([0.0, 0.0, 5 * seconds[0], 0.0, 5 * seconds[1], 9.0])
    monkeypatch.setattr(compiled, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()

    def plain(batch):
        return Autoencoding().loss(network, batch)

    def fast(batch):
        return change(plain(batch))

    chosen = accept_compiled(Trial(network, CPU, batch, gradients), plain, fast, "fp32")
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
    assert trial(monkeypatch, lambda terms: {"total": 1.01 * terms["total"]}) is None


def test_a_compiler_that_fails_is_no_reason_not_to_train(monkeypatch, capsys):
    def failing(terms):
        raise RuntimeError("no Triton here\nand more")

    assert trial(monkeypatch, failing) is None
    assert "run.compile: off, for it failed: no Triton here\n" in capsys.readouterr().out


def test_on_without_a_compiler_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"run\.compile.*no-such-compiler; install one"):
        StepLoss(Autoencoding(), make_model(), "on", CPU, "fp32")


def test_auto_tries_once_and_only_where_it_may_pay(monkeypatch):
    tried = []
    monkeypatch.setattr(compiled, "accept_compiled", lambda *given: tried.append(given))
    monkeypatch.setattr(compiled, "compile_network", lambda network, device: network)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    network, keeping = make_model(), Autoencoding()
    keeping.memory = "a bank"
    for task, device in ((Autoencoding(), CPU), (keeping, CUDA)):
        StepLoss(task, network, "auto", device, "fp32")(None, True, gradients)
    assert not tried
    loss = StepLoss(Autoencoding(), network, "auto", CUDA, "fp32")
    for whole in (False, True, True):
        assert loss(None, whole, gradients) == loss.plain
    assert len(tried) == 1


def test_network_and_loss_are_compiled_as_one_where_the_loss_keeps_nothing(monkeypatch):
    given = []
    monkeypatch.setattr(compiled, "_require_compiler", lambda device: None)
    monkeypatch.setattr(compiled, "compile_network", lambda network, _: given.append(network))
    network = make_model()
    for task in (Autoencoding(), PureAutoencoding()):
        StepLoss(task, network, "on", CPU, "fp32")
    assert given[0] is network and given[1].network is network and given[1] is not network
