"""The plain baseline of the benchmarks computes what we compute, so comparing speed is fair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.plain.cubes import plain_loader, write_chunk
from benchmarks.plain.training import PlainModel, PlainTrainer, plain_errors, plain_flow_errors
from datasets.cubes.loader import to_network_inputs
from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.hf2vad.errors import cube_errors, stage1_errors
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from published.state_dict_keys import from_published, to_published
from utils.config.hf2vad import CVAEStageConfig, FinetuneStageConfig, MemAEStageConfig

MEMAE = {
    "feature_root": 4,
    "num_slots": 12,
    "shrink_threshold": 1 / 24,
    "mem_usage": [False, True, True, True],
    "skip_ops": ["none", "concat", "concat"],
}
VUNET = {"nf_max": 8, "nf_start": 4, "dropout": 0.0, "final_act": False}


def both_models() -> tuple[HF2VAD, PlainModel]:
    torch.manual_seed(3)
    ours, plain = build_hf2vad(MEMAE, VUNET), PlainModel(MEMAE, VUNET)
    for parameter in ours.vunet.parameters():  # gains and shifts start where they do nothing
        parameter.data += 0.05 * torch.randn_like(parameter)
    for name, buffer in ours.named_buffers():
        if buffer.dtype == torch.float32:
            buffer.copy_(torch.rand_like(buffer) + ("var" in name))
    plain.load_state_dict(to_published(ours.state_dict()))
    return ours, plain


def inputs(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(count, 15, 32, 32, generator=generator)
    return frames, torch.randn(count, 8, 32, 32, generator=generator)


def test_scores_are_ours():
    ours, plain = both_models()
    expected = cube_errors(ours.eval(), *inputs())
    found = plain_errors(plain, *inputs())
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-4, atol=1e-4)
    flow_error = stage1_errors(ours.memae, inputs()[1])["flow_error"]
    torch.testing.assert_close(
        plain_flow_errors(plain, inputs()[1]), flow_error, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_losses_and_gradients_are_ours(stage):
    ours, plain = both_models()
    frames, flows = inputs()
    trainer = PlainTrainer(plain, stage)
    torch.manual_seed(7)  # the latents drawn
    loss = trainer.loss(frames, flows)
    loss.backward()
    torch.manual_seed(7)
    expected = our_loss(ours, stage, frames, flows)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    gradients = {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}
    for name, gradient in from_published(gradients).items():
        torch.testing.assert_close(
            gradient, ours.get_parameter(name).grad, rtol=1e-3, atol=1e-4, msg=name
        )


def our_loss(ours: HF2VAD, stage: str, frames: torch.Tensor, flows: torch.Tensor) -> torch.Tensor:
    if stage == "stage1":
        last = flows[:, -2:]
        return memae_loss(ours.memae.train()(last), last, MemAEStageConfig())["total"]
    if stage == "stage2":
        ours.freeze_memae()
        return cvae_loss(ours.train()(frames, flows), CVAEStageConfig())["total"]
    return finetune_loss(ours.train()(frames, flows), flows, FinetuneStageConfig())["total"]


def test_loader_gives_our_inputs(tmp_path):
    random = np.random.default_rng(0)
    appearance = random.integers(0, 256, (5, 5, 32, 32, 3), np.uint8)
    motion = random.standard_normal((5, 4, 32, 32, 2)).astype(np.float16)
    write_chunk(tmp_path / "chunked_samples_00.pkl", appearance, motion)
    batch = next(iter(plain_loader(tmp_path / "chunked_samples_00.pkl", 5, shuffle=False)))
    expected = to_network_inputs(torch.from_numpy(appearance), torch.from_numpy(motion))
    for found, wanted in zip(batch, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
