"""When the host waits for a GPU that is not there: never in a step, every ``log_every`` steps for
the losses, once for all scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import finetune
import ml_memAE_sc_train
import train
from engine import trainer
from engine.compiled import StepLoss
from engine.loss_log import LossLog
from engine.optimizer import adam
from engine.scoring import features, network
from engine.scoring.distributed import score_distributed
from engine.scoring.features import CubeFeatures
from engine.scoring.network import ScoringNetwork, TorchScorer, random_cubes
from engine.state import TrainingState
from models.backbones.backbone import Backbone
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from tests.engine.test_cuda_devices import SETTINGS, cube_batch, task_of
from tests.helpers.fabricated import MEMAE, VUNET
from tests.helpers.fake_cuda import CUDA, META, valueless
from utils import transfer
from utils.config.hf2vad import RunConfig
from utils.config.scoring import AppearanceConfig

STEPS, LOG_EVERY = 3, 2
STAGES = {
    ml_memAE_sc_train.FlowReconstruction: lambda: MLMemAESC(**MEMAE),
    train.FramePrediction: lambda: build_hf2vad(MEMAE, VUNET),
    finetune.JointTraining: lambda: build_hf2vad(MEMAE, VUNET),
}


class Loader:
    """The same batch over and over."""

    def __len__(self) -> int:
        return STEPS

    def epoch(self, epoch, first_step=0):
        return iter([cube_batch()] * STEPS)


def training_of(task, folder, ema_decay=0.9):
    """The training loop around a task on tensors without values, nothing written."""
    fit = trainer._Fit.__new__(trainer._Fit)
    settings = SETTINGS[type(task)].model_copy(update={"batch_size": len(cube_batch()[0])})
    run = RunConfig(log_every=LOG_EVERY, image_every=0)
    fit.stage = SimpleNamespace(settings=settings, run=run, name="stage")
    fit.task, fit.stop = task, SimpleNamespace(received=False)
    fit.accelerator = SimpleNamespace(device=META)
    optimizer = adam(task.model.parameters(), settings, META)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1])
    fit.state = TrainingState(task.model, optimizer, schedule, ema_decay)
    fit.losses = LossLog(fit.state, "stage", folder / "last.pth")
    fit._save = lambda **_: None
    return fit


@pytest.mark.parametrize("kind", STAGES)
def test_an_epoch_reads_nothing_but_losses_every_few_steps(monkeypatch, tmp_path, kind):
    """On "meta" any value that the host asks for is an error, in backward and optimizer too."""
    read = []

    def check(log):
        read.append((log._state.step, len(log._recent)))
        log._recent = []
        return {"total": 0.0}

    monkeypatch.setattr(LossLog, "check", check)
    with valueless(META, monkeypatch):
        task = task_of(kind, STAGES[kind](), META)
        task.loader, task.settings = Loader(), SETTINGS[kind]
        if kind is train.FramePrediction:
            task.model.freeze_memae()
            task.settings = task.settings.model_copy(update={"keep_flow_recon": False})
        fit = training_of(task, tmp_path)
        fit._train_epoch(StepLoss(task, task.model, "off", META, "fp32"), None)
    trained = [each for each in task.model.parameters() if each.requires_grad]
    assert all(each.grad is not None and each.grad.device == META for each in trained)
    assert fit.state.step == STEPS and fit.state.average.count == STEPS
    assert read == [(2, 2), (3, 1)]


def test_scores_are_read_once_after_the_last_batch(monkeypatch):
    read = []

    def copied(tensors):
        read.append({tensor.device for tensor in tensors})
        return [np.zeros(tensor.shape) for tensor in tensors]

    fused = ScoringNetwork(build_hf2vad(MEMAE, VUNET))  # copied while it has values
    monkeypatch.setattr(network, "ScoringNetwork", lambda model: fused)
    monkeypatch.setattr(transfer, "copy_together", copied)
    with valueless(CUDA, monkeypatch):
        scorer = TorchScorer(fused.model, CUDA)
        batches = [random_cubes(count, 0) for count in (3, 3, 2)]
        errors = score_distributed(batches, lambda batch: scorer(*batch))
    assert read == [{CUDA}]
    assert set(errors) == {
        "flow_error", "frame_error", "energy", "steady_energy", "fast_energy"
    }  # fmt: skip
    assert all(values.shape == (8,) for values in errors.values())


def test_values_of_many_batches_keep_their_places():
    batches = [{"a": torch.arange(3.0), "b": np.array([7, 8])}, {"b": np.array([9]), "a": [1.5]}]
    read = transfer.read_together(batches)
    assert [list(batch) for batch in read] == [["a", "b"], ["b", "a"]]
    assert all(values.dtype == np.float64 for batch in read for values in batch.values())
    parts = transfer.copy_together([torch.tensor([1.0, 2.0]), torch.tensor([[3], [2**53 - 1]])])
    assert [part.tolist() for part in parts] == [[1, 2], [[3], [2**53 - 1]]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_of_densities_are_computed_on_the_gpu(monkeypatch, precision):
    """Distances are the CPU's, so features come back with every batch, and in float32."""
    backbone = Backbone(nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU()), 96)
    monkeypatch.setattr(features, "build_backbone", lambda *_: backbone)
    monkeypatch.setattr(features, "on_host", lambda values: values)
    with valueless(CUDA, monkeypatch):
        compute = CubeFeatures(["appearance"], AppearanceConfig(), CUDA, False, precision)
        found = compute(*random_cubes(3, 0))["appearance"]
    assert found.device == CUDA and found.shape == (3, 4) and found.dtype == torch.float32
