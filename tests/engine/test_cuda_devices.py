"""All that trains and scores, on a GPU that is not there: no tensor is made on the wrong device,
and no training step waits for the GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import finetune
import frd_train
import ml_memAE_sc_train
import train
from datasets.cubes.loader import CubeBatch
from datasets.features.loader import FeatureBatch
from engine.cube_task import CubeTask
from engine.optimizer import adam
from engine.scoring import build, network
from engine.scoring.network import ScoringNetwork, TorchScorer, random_cubes
from engine.state import WeightAverage
from losses import frd
from losses.frd import AnomalyBank
from losses.frd_step import FRDStep
from models.flownet2.flownet2 import FlowNet2
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from models.frd.scorers import score_batch
from models.hf2vad.from_checkpoint import explain
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from tests.helpers.fabricated import MEMAE, VUNET
from tests.helpers.fake_cuda import CUDA, META, valueless
from utils.config.hf2vad import CVAEStageConfig, FinetuneStageConfig, MemAEStageConfig
from utils.runtime import autocast, in_device_layout

PRECISIONS = ("fp32", "bf16")
SETTINGS: dict[type, Any] = {
    ml_memAE_sc_train.FlowReconstruction: MemAEStageConfig(),
    train.FramePrediction: CVAEStageConfig(),
    finetune.JointTraining: FinetuneStageConfig(),
}


def cube_batch(count: int = 4) -> CubeBatch:
    appearance, motion = map(torch.from_numpy, random_cubes(count, 0))
    return CubeBatch(torch.arange(count), appearance, motion)


def task_of(kind: type[CubeTask], model: nn.Module, device: torch.device) -> CubeTask:
    """A stage's task without what a step does not need: loader, cubes, folder."""
    task = kind.__new__(kind)
    task.setup, task.settings = SimpleNamespace(device=device), SETTINGS[kind]
    task.model = model.to(device).train()
    return task


def loss_of(task: Any, batch: Any, device: torch.device, precision: str) -> None:
    """What ``engine.trainer`` does with a batch, gradients only where there can be some."""
    if device == META:
        terms = task.loss(task.model, batch)
        terms["total"].backward()
        trained = [each for each in task.model.parameters() if each.requires_grad]
        assert all(each.grad is not None and each.grad.device == device for each in trained)
    else:
        with autocast(device, precision):
            terms = task.loss(task.model, batch)
    assert all(term.device == device for term in terms.values())
    assert all(term.dtype == torch.float32 for term in terms.values())


WHERE = [(META, "fp32"), (CUDA, "fp32"), (CUDA, "bf16")]


# Whole steps of HF2-VAD's stages on META: tests/engine/test_cuda_reading.py.


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stage_1(monkeypatch, precision):
    with valueless(CUDA, monkeypatch):
        task = task_of(ml_memAE_sc_train.FlowReconstruction, MLMemAESC(**MEMAE), CUDA)
        loss_of(task, cube_batch(), CUDA, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stage_2(monkeypatch, precision):
    with valueless(CUDA, monkeypatch):
        task = task_of(train.FramePrediction, build_hf2vad(MEMAE, VUNET), CUDA)
        task.model.freeze_memae()
        task.settings = task.settings.model_copy(update={"keep_flow_recon": False})
        loss_of(task, cube_batch(), CUDA, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stage_3(monkeypatch, precision):
    with valueless(CUDA, monkeypatch):
        task = task_of(finetune.JointTraining, build_hf2vad(MEMAE, VUNET), CUDA)
        loss_of(task, cube_batch(), CUDA, precision)


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize(("device", "precision"), WHERE)
def test_frd(monkeypatch, device, precision, auxiliary):
    with valueless(device, monkeypatch):
        task = frd_train.FRDTask.__new__(frd_train.FRDTask)
        task.setup, task.model = SimpleNamespace(device=device), FRD(256, 2).to(device)
        table = torch.rand(50) if auxiliary else None
        task.step = FRDStep(None, "wlab", 0.5, {}, 0.5, table)
        rows, features = torch.arange(12).view(6, 2), torch.rand(6, 3, 2, 256)
        loss_of(task, FeatureBatch(rows, features), device, precision)


def test_the_bank_of_frd(monkeypatch):
    """Which items it takes is read after the step, so the next one finds out."""
    chosen = torch.tensor([True, False, True, False, False, True])
    monkeypatch.setattr(frd, "read_later", lambda _: lambda: chosen)
    nonzero = chosen.nonzero()
    monkeypatch.setattr(torch.Tensor, "nonzero", lambda _: nonzero)
    monkeypatch.setattr(frd, "interleaved_order", lambda _: torch.arange(3))
    with valueless(CUDA, monkeypatch):
        bank, model = AnomalyBank(4), FRD(256, 2).to(CUDA)
        step, items = FRDStep(bank, "wlab", 0.5, {}, 0.5), torch.rand(6, 3, 2, 256, device=CUDA)
        for _ in range(2):
            terms = step(model, torch.arange(12).view(6, 2), items)
        assert terms["bank"].device == CUDA
        assert bank.items.shape == (4, 3, 2, 256) and bank.items.device == CUDA


@pytest.mark.parametrize(("device", "precision"), WHERE)
def test_c2fpl(monkeypatch, device, precision):
    with valueless(device, monkeypatch):
        task = frd_train.C2FPLTask.__new__(frd_train.C2FPLTask)
        task.setup, task.model = SimpleNamespace(device=device), C2FPLScorer(256).to(device)
        task.labels, task.positives = torch.ones(50), 0.5
        batch = FeatureBatch(torch.arange(6)[:, None], torch.rand(6, 3, 1, 256))
        loss_of(task, batch, device, precision)


@pytest.mark.parametrize("device", [META, CUDA])
def test_the_average_is_on_the_models_device(monkeypatch, device):
    average = WeightAverage(MLMemAESC(**MEMAE), 0.9)  # copied while it has values
    with valueless(device, monkeypatch), torch.no_grad():
        model = MLMemAESC(**MEMAE).to(device)
        average.module = average.module.to(device)
        for _ in range(2):  # the first one copies
            average.update(model)
        assert {each.device for each in average.module.state_dict().values()} == {device}


def test_weights_are_laid_out_as_a_gpu_computes_with_them():
    new, layout = (lambda: build_hf2vad(MEMAE, VUNET)), torch.channels_last
    for device, expected in ((CUDA, True), (torch.device("cpu"), False)):
        model = in_device_layout(new(), device)
        assert model.memae.down1.down.weight.is_contiguous(memory_format=layout) == expected
        assert model.vunet.both_encoder.stage2.down.direction.is_contiguous()  # folded later


def test_one_fused_kernel_updates_the_weights(monkeypatch):
    with valueless(CUDA, monkeypatch):
        model = MLMemAESC(**MEMAE).to(CUDA)
        assert adam(model.parameters(), MemAEStageConfig(), CUDA).defaults["fused"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("new", [lambda: MLMemAESC(**MEMAE), lambda: build_hf2vad(MEMAE, VUNET)])
def test_scoring_stays_on_the_gpu(monkeypatch, new, precision):
    fused = ScoringNetwork(new())  # copied while it has values
    monkeypatch.setattr(network, "ScoringNetwork", lambda model: fused)
    with valueless(CUDA, monkeypatch):
        errors = TorchScorer(fused.model, CUDA, precision)(*random_cubes(3, 0))
        assert {each.device for each in errors.values()} == {CUDA}
        assert {each.dtype for each in errors.values()} == {torch.float32}


def test_flows_are_reconstructed_on_the_gpu(monkeypatch):
    fused = fuse_for_inference(MLMemAESC(**MEMAE))
    monkeypatch.setattr(build, "fuse_for_inference", lambda memae: fused.to(CUDA))
    with valueless(CUDA, monkeypatch):
        reconstruct = build.flow_reconstructor(fused, CUDA)
        assert reconstruct(torch.rand(3, 8, 32, 32, device=CUDA)).device == CUDA


def test_pictures_come_back_to_the_cpu(monkeypatch):
    with valueless(CUDA, monkeypatch, may_read=True):
        model = build_hf2vad(MEMAE, VUNET).to(CUDA).eval()
        frames, flows = (
            torch.rand(2, 15, 32, 32, device=CUDA),
            torch.rand(2, 8, 32, 32, device=CUDA),
        )
        assert {each.device.type for each in explain(model, frames, flows).values()} == {"cpu"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_flownet2_and_raft(monkeypatch, precision):
    from torchvision.models.optical_flow import raft_small

    # The library's sampling of images is not known to tensors without values; torch's own is.
    plain_sampling = torch.backends.cudnn.flags(enabled=False)
    with valueless(CUDA, monkeypatch), plain_sampling, torch.no_grad(), autocast(CUDA, precision):
        frames = torch.zeros(2, 3, 2, 64, 128, dtype=torch.uint8, device=CUDA)
        flow = FlowNet2().to(CUDA).eval()(frames)
        assert flow.shape == (2, 2, 64, 128) and flow.device == CUDA
        pair = torch.rand(2, 1, 3, 128, 128, device=CUDA)
        flow = raft_small(weights=None).to(CUDA).eval()(*pair)[-1]
        assert flow.shape == (1, 2, 128, 128) and flow.device == CUDA


@pytest.mark.parametrize("precision", PRECISIONS)
def test_snippets_are_scored_on_the_gpu(monkeypatch, precision):
    with valueless(CUDA, monkeypatch), autocast(CUDA, precision):
        model = FRD(256, 2).to(CUDA).eval()
        features = torch.rand(4, 3, 1, 256, device=CUDA)
        values = score_batch(model.scorer, model, features)
        assert {each.device for each in values.values()} == {CUDA}
