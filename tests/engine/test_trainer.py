"""The training loop: resume is exact, faults stop it, signals leave a checkpoint."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.stage import Stage
from engine.trainer import adam, fit, make_accelerator
from utils.checkpoint import load_checkpoint
from utils.config.hf2vad import RunConfig, StageConfig
from utils.errors import UserError
from utils.run_folder import sole_writer
from utils.runtime import seed_everything


class Batches:
    """Ten rows a batch of a fixed random table, in an order that the epoch decides."""

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
            yield rows * float("nan") if self.served == self.bad_step else rows


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 3))


def run_stage(folder, epochs=3, loader=None, restart=False, seed=0, **settings):
    seed_everything(0)
    config = StageConfig(num_epochs=epochs, lr=0.01, lr_milestones=[1], **settings)
    run = RunConfig(seed=seed, log_every=2)
    tree = {"run": run.model_dump(), "toy": config.model_dump(), "model": {}}
    model = make_model()

    def loss(network, batch):
        error = (network(batch) - batch).square().mean()
        return {"error": error, "total": error}

    stage = Stage(
        system="hf2vad",
        name="toy",
        folder=folder,
        config=tree,
        settings=config,
        model=model,
        optimizer=adam(model.parameters(), config, torch.device("cpu")),
        loader=loader or Batches(),
        loss=loss,
        describe_normal=lambda network: {"statistics": {"norm": float(network[0].weight.norm())}},
        fingerprint="data",
    )
    accelerator = make_accelerator(torch.device("cpu"), "fp32")
    return load_checkpoint(fit(stage, accelerator, run, restart))


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
    with pytest.raises(UserError, match=r"toy\.adam_eps"):
        run_stage(tmp_path, epochs=2, adam_eps=1e-3)
    assert run_stage(tmp_path, epochs=1, seed=1, restart=True)["config"]["run"]["seed"] == 1


def test_second_run_into_a_folder_is_refused(tmp_path):
    with sole_writer(tmp_path), pytest.raises(UserError, match="another run is writing"):
        run_stage(tmp_path)


def test_kept_epochs_have_statistics(tmp_path):
    run_stage(tmp_path, epochs=2, keep_every=1)
    for epoch in (1, 2):
        kept = load_checkpoint(tmp_path / f"epoch_{epoch:03d}.pth")
        assert kept["epoch"] == epoch and kept["statistics"]["norm"] > 0


def test_average_follows_the_weights(tmp_path):
    checkpoint = run_stage(tmp_path, ema_decay=0.5)
    raw, average = checkpoint["training"]["model"]["0.weight"], checkpoint["model"]["0.weight"]
    assert not torch.equal(raw, average)
    assert (raw - average).norm() < 0.2 * raw.norm()


def test_fused_adam_has_the_published_eps():
    parameter = nn.Parameter(torch.zeros(1))
    settings = SimpleNamespace(lr=0.1, adam_eps=1e-7, weight_decay=0.0)
    optimizer = adam(
        [parameter, nn.Parameter(torch.zeros(1), False)], settings, torch.device("cpu")
    )
    assert optimizer.defaults["eps"] == 1e-7
    assert len(optimizer.param_groups[0]["params"]) == 1
