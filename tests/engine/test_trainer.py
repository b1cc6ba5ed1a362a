"""The training loop: resume is exact, faults stop it, signals leave a checkpoint."""

from __future__ import annotations

import copy
import json
import os
import signal
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from engine import trainer
from engine.gradients import make_accelerator
from engine.optimizer import adam
from engine.resumed import match_layouts
from engine.stage import Stage, StageTask
from engine.state import WeightAverage
from engine.trainer import fit
from utils.checkpoint import load_checkpoint
from utils.config.hf2vad import RunConfig, StageConfig
from utils.config.load import build_config
from utils.errors import UserError
from utils.run_folder import sole_writer
from utils.runtime import seed_everything, use_tf32


class Batch(NamedTuple):
    rows: Tensor
    weight: float


class Batches:
    """Ten rows a batch of a fixed random table, in an order that the epoch decides."""

    weight = 1.0

    def __init__(self, bad_step: int | None = None, hook=None) -> None:
        self.rows = torch.randn(35, 3, generator=torch.Generator().manual_seed(0))
        self.bad_step, self.hook, self.served = bad_step, hook, 0

    def __len__(self) -> int:
        return 4

    def epoch(self, epoch, first_step=0):
        order = torch.randperm(35, generator=torch.Generator().manual_seed(epoch))
        for step in range(first_step, 4):
            self.served += 1
            rows = self.rows[order[step * 10 : step * 10 + 10]]
            if self.hook is not None:
                self.hook(self.served)
            bad = self.served == self.bad_step
            yield Batch(rows * float("nan") if bad else rows, self.weight)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 3))


class Autoencoding(StageTask):
    """Rows in, rows out."""

    def loss(self, model, batch):
        error = (model(batch.rows) - batch.rows).square().mean()
        return {"error": error, "total": error}

    def describe_normal(self, model):
        norm = float(model[0].weight.norm())
        table = {"mean": norm, "std": 0.0, "quantiles": [norm]}
        return {"statistics": {"num_cubes": 1, "norm": table}}


def run_stage(
    folder,
    epochs=3,
    loader=None,
    restart=False,
    seed=0,
    task=None,
    precision="fp32",
    compiled="auto",
    **settings,
):
    seed_everything(0)
    config = StageConfig(num_epochs=epochs, lr=0.01, lr_milestones=[1], **settings)
    run = RunConfig(seed=seed, log_every=2, precision=precision, compile=compiled)
    given = {"data": {"name": "toy"}, "run": run.model_dump(), "cvae": config.model_dump()}
    tree = build_config(given, "toy").model_dump(mode="json")
    task = task or Autoencoding()
    task.model, task.loader, task.fingerprint = make_model(), loader or Batches(), "data"
    task.optimizer = adam(task.model.parameters(), config, torch.device("cpu"))
    stage = Stage("hf2vad", "cvae", folder, tree, config, run, task)
    return load_checkpoint(fit(stage, make_accelerator(torch.device("cpu")), restart))


def weights(checkpoint):
    return checkpoint["model"]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stop_inside_an_epoch_and_resume_gives_the_same_weights(tmp_path, ema):
    straight = run_stage(tmp_path / "a", ema_decay=ema)

    def stop_once(served):
        if served == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        run_stage(tmp_path / "b", loader=Batches(hook=stop_once), ema_decay=ema)
    assert stopped.value.code == 143
    partial = load_checkpoint(tmp_path / "b" / "last.pth")
    assert (partial["epoch"], partial["step"], partial["finished"]) == (1, 6, False)
    resumed = run_stage(tmp_path / "b", ema_decay=ema)
    assert_same(weights(straight), weights(resumed))
    assert resumed["finished"] and resumed["statistics"] == straight["statistics"]
    assert resumed["step"] == 12


def test_same_seed_same_weights_and_one_line_an_epoch(tmp_path):
    first, second = run_stage(tmp_path / "a"), run_stage(tmp_path / "b")
    assert_same(weights(first), weights(second))
    lines = [json.loads(x) for x in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[0]["lr"] == 0.01 and lines[1]["lr"] == pytest.approx(0.008)
    assert lines[0]["total"] > lines[2]["total"] > 0


def test_epoch_mean_is_the_same_after_a_resume(tmp_path):
    run_stage(tmp_path / "a", epochs=1)

    def stop_once(served):
        if served == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit):
        run_stage(tmp_path / "b", epochs=1, loader=Batches(hook=stop_once))
    run_stage(tmp_path / "b", epochs=1)
    lines = [json.loads((tmp_path / name / "log.jsonl").read_text()) for name in "ab"]
    assert lines[0]["total"] == pytest.approx(lines[1]["total"], rel=1e-6)


def test_finished_stage_is_left_alone_and_more_epochs_continue(tmp_path, capsys):
    run_stage(tmp_path, epochs=2)
    loader = Batches()
    run_stage(tmp_path, epochs=2, loader=loader)
    assert loader.served == 0 and "finished (2 epochs)" in capsys.readouterr().out
    longer = run_stage(tmp_path, epochs=3, loader=loader)
    assert loader.served == 4
    assert_same(weights(longer), weights(run_stage(tmp_path / "straight", epochs=3)))


def test_non_finite_loss_names_step_and_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"nan at step 6; .*last\.pth is the last good"):
        run_stage(tmp_path, loader=Batches(bad_step=6))
    good = load_checkpoint(tmp_path / "last.pth")
    assert good["step"] == 4
    assert all(torch.isfinite(value).all() for value in good["model"].values())


def test_other_settings_are_refused_unless_restarted(tmp_path):
    run_stage(tmp_path, epochs=1)
    with pytest.raises(UserError, match=r"run\.seed.*--restart"):
        run_stage(tmp_path, epochs=2, seed=1)
    with pytest.raises(UserError, match=r"cvae\.adam_eps"):
        run_stage(tmp_path, epochs=2, adam_eps=1e-3)
    assert run_stage(tmp_path, epochs=1, seed=1, restart=True)["config"]["run"]["seed"] == 1


def test_second_run_into_a_folder_is_refused(tmp_path):
    with sole_writer(tmp_path), pytest.raises(UserError, match="another run is writing"):
        run_stage(tmp_path)


def test_kept_epochs_have_statistics(tmp_path):
    run_stage(tmp_path, epochs=2, keep_every=1)
    for epoch in (1, 2):
        kept = load_checkpoint(tmp_path / f"epoch_{epoch:03d}.pth")
        assert kept["epoch"] == epoch and kept["statistics"]["norm"]["mean"] > 0


def test_average_is_the_papers_exponential_average():
    """Of parameters and BatchNorm statistics; old and new do not weigh the same."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = WeightAverage(model, decay=0.9)
    expected_weight, expected_mean = 0.0, 0.0
    for step, value in enumerate((1.0, 5.0, -2.0, 7.0)):
        model[0].weight.data.fill_(value)
        model[1].running_mean.fill_(10 * value)
        average.update(model)
        # The first update copies; then the decay rises as (1 + n) / (10 + n) of n updates.
        keep = 0.0 if step == 0 else min(0.9, (1 + step) / (10 + step))
        expected_weight = keep * expected_weight + (1 - keep) * value
        expected_mean = keep * expected_mean + (1 - keep) * 10 * value
    assert average.module[0].weight.item() == pytest.approx(expected_weight, rel=1e-6)
    assert average.module[1].running_mean.item() == pytest.approx(expected_mean, rel=1e-6)


def test_a_batch_counts_by_its_weight(tmp_path):
    """A process without an item takes part with weight 0: nothing is learned from it."""
    loader = Batches()
    loader.weight = 0.0
    checkpoint = run_stage(tmp_path, loader=loader, epochs=1)
    seed_everything(0)
    assert torch.equal(checkpoint["model"]["0.weight"], make_model()[0].weight)


def test_statistics_are_float32_after_training_in_bfloat16(tmp_path):
    """Whatever computed in bfloat16 while training, the finished network does not."""
    outputs = []

    class Recording(Autoencoding):
        def describe_normal(self, model):
            outputs.append(model(torch.ones(2, 3)))
            return super().describe_normal(model)

    run_stage(tmp_path, epochs=1, task=Recording(), precision="bf16", ema_decay=0.0)
    exact = load_checkpoint(tmp_path / "last.pth")["model"]
    model = make_model().eval()
    model.load_state_dict(exact)
    assert outputs[0].dtype == torch.float32
    assert torch.equal(outputs[0], model(torch.ones(2, 3)))


def test_fused_adam_has_the_published_eps():
    parameter = nn.Parameter(torch.zeros(1))
    settings = SimpleNamespace(lr=0.1, adam_eps=1e-7, weight_decay=0.0)
    optimizer = adam(
        [parameter, nn.Parameter(torch.zeros(1), False)], settings, torch.device("cpu")
    )
    assert optimizer.defaults["eps"] == 1e-7
    assert len(optimizer.param_groups[0]["params"]) == 1


def test_weights_laid_out_otherwise_go_on_with_their_own_averages():
    """A checkpoint of a CPU resumed on a GPU: channels-last weights beside the usual ones."""

    def network(state=None, layout=torch.contiguous_format):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=layout)
        optimizer = adam(model.parameters(), StageConfig(num_epochs=1, lr=0.1), torch.device("cpu"))
        if state is not None:
            optimizer.load_state_dict(state["optimizer"])
            match_layouts(optimizer)
            model.load_state_dict(state["model"])
        return model, optimizer

    def train(model, optimizer, seed):
        optimizer.zero_grad()
        x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        model(x.contiguous(memory_format=torch.channels_last)).square().sum().backward()
        optimizer.step()

    straight = network()
    train(*straight, 0)
    state = copy.deepcopy(
        {"model": straight[0].state_dict(), "optimizer": straight[1].state_dict()}
    )
    resumed = network(state, torch.channels_last)
    for each in (straight, resumed):
        train(*each, 1)
    assert not resumed[0].weight.is_contiguous()
    torch.testing.assert_close(resumed[0].weight, straight[0].weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "tf32", "products"),
    [("fp32", True, "tf32"), ("fp32", False, "fp32"), ("bf16", True, "bf16")],
)
def test_a_gpus_products_are_said(monkeypatch, precision, tf32, products):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    training = trainer._Fit.__new__(trainer._Fit)
    training.stage = SimpleNamespace(run=RunConfig(precision=precision, tf32=tf32))
    training.accelerator = SimpleNamespace(device=torch.device("cuda"))
    assert training._how() == {"device": "a GPU", "products": products}


def test_tf32_ends_where_scores_begin(tmp_path):
    """GPUs may round the factors of training's float32 products, never those of statistics."""
    allowed = []

    class Recording(Autoencoding):
        def loss(self, model, batch):
            allowed.append(torch.backends.cudnn.allow_tf32)
            return super().loss(model, batch)

        def describe_normal(self, model):
            allowed.append(torch.backends.cudnn.allow_tf32)
            return super().describe_normal(model)

    use_tf32(True)
    run_stage(tmp_path, epochs=1, task=Recording())
    use_tf32(False)
    assert allowed == [True] * 4 + [False]
