"""Properties of the HF2-VAD networks that hold for any weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.scoring.network import network_errors
from losses.hf2vad import finetune_loss
from models.hf2vad.errors import cube_errors, stage1_errors
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import HF2VAD
from models.hf2vad.ml_memae_sc import MLMemAESC
from models.hf2vad.vunet import VUnet
from models.hf2vad.vunet_parts import Posterior
from models.layers.blocks import NormConv2d
from utils.config.hf2vad import FinetuneStageConfig


def make_model(seed: int = 0, **memae: object) -> HF2VAD:
    torch.manual_seed(seed)
    return HF2VAD(MLMemAESC(**{"feature_root": 2, "num_slots": 5} | memae), VUnet(8, 4))


def make_inputs(batch: int = 2, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, 15, 32, 32, generator=generator)
    return frames, torch.randn(batch, 8, 32, 32, generator=generator)


@pytest.mark.parametrize("mem_usage", [(False,) * 4, (False, True, False, True)])
@pytest.mark.parametrize("skip_ops", [("none",) * 3, ("concat",) * 3])
def test_autoencoder_shapes(mem_usage: tuple[bool, ...], skip_ops: tuple[str, ...]) -> None:
    memae = MLMemAESC(2, 5, 0.0, mem_usage, skip_ops)
    output = memae(torch.randn(3, 2, 32, 32))
    assert output["flow_recon"].shape == (3, 2, 32, 32)
    assert [a.shape for a in output["attention"]] == [(3, 5)] * sum(mem_usage)


@pytest.mark.parametrize(
    "switches", [{"mem_usage": [True] * 4}, {"mem_usage": [False]}, {"skip_ops": ["add"] * 3}]
)
def test_wrong_switches_are_refused(switches: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(switches))):
        MLMemAESC(2, 5, **switches)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="nf_max"):
        VUnet(nf_max=8, nf_start=8)


def test_evaluation_is_deterministic_and_needs_no_prior() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    first, second = model(frames, flows), model(frames, flows, with_prior=True)
    assert torch.equal(first["frame_pred"], second["frame_pred"])
    assert first["p_means"] == [] and len(second["p_means"]) == 2
    assert torch.equal(first["frame_target"], frames[:, 12:])


def test_training_draws_from_the_global_generator() -> None:
    model, (frames, flows) = make_model().train(), make_inputs()
    torch.manual_seed(3)
    first = model(frames, flows)["frame_pred"]
    second = model(frames, flows)["frame_pred"]
    torch.manual_seed(3)
    again = model(frames, flows)["frame_pred"]
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_latents_are_means_plus_unit_noise_and_feed_the_next_scale() -> None:
    torch.manual_seed(0)
    posterior = Posterior(8, NormConv2d, 0.0)
    stage3 = (torch.randn(16, 8, 8, 8), torch.randn(16, 8, 8, 8))
    stage4 = (torch.randn(16, 8, 4, 4), torch.randn(16, 8, 4, 4))
    means, latents = posterior(stage3, stage4, sample=True)
    for mean, latent in zip(means, latents, strict=True):
        noise = latent - mean
        assert abs(noise.mean().item()) < 0.1 and noise.std().item() == pytest.approx(1, abs=0.05)
    still_means, still_latents = posterior(stage3, stage4, sample=False)
    assert all(torch.equal(*pair) for pair in zip(still_means, still_latents, strict=True))
    assert torch.equal(means[0], still_means[0]) and not torch.equal(means[1], still_means[1])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_in_training(dropout: float) -> None:
    torch.manual_seed(0)
    vunet, (frames, flows) = VUnet(8, 4, dropout).train(), make_inputs()
    first, second = (vunet(frames[:, :12], flows, sample=False) for _ in range(2))
    assert torch.equal(first["frame_pred"], second["frame_pred"]) == (dropout == 0)
    vunet.eval()
    first, second = (vunet(frames[:, :12], flows) for _ in range(2))
    assert torch.equal(first["frame_pred"], second["frame_pred"])


def test_known_reconstruction_gives_the_same_frame() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    full = model(frames, flows)
    cached = model(frames, flows, flow_recon=full["flow_recon"])
    assert torch.equal(full["frame_pred"], cached["frame_pred"])
    assert cached["attention"] == []


def test_every_flow_is_rebuilt_by_itself() -> None:
    memae, flows = make_model().memae.eval(), make_inputs()[1]
    together = memae(flows)["flow_recon"]
    alone = torch.cat([memae(flow)["flow_recon"] for flow in flows.split(2, dim=1)], dim=1)
    torch.testing.assert_close(together, alone)


def test_scores_are_sums_of_squares_of_each_cube() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs(3)
    errors, output = cube_errors(model, frames, flows), model(frames, flows)
    expected = (output["flow_recon"] - flows).square().sum((1, 2, 3))
    torch.testing.assert_close(errors["flow_error"], expected)
    assert {name: value.shape for name, value in errors.items()} == dict.fromkeys(
        ["flow_error", "frame_error", "energy", "steady_energy", "fast_energy"], (3,)
    )
    four = flows.unflatten(1, (4, 2)).square().sum((2, 3, 4)).sort(dim=1).values
    torch.testing.assert_close(errors["steady_energy"], 2 * (four[:, 1] + four[:, 2]))
    pixels = flows.unflatten(1, (4, 2)).square().sum(2).flatten(2).sort(dim=2).values
    fastest = pixels[..., -(pixels.shape[2] // 4) :].sum(2).sort(dim=1).values
    torch.testing.assert_close(errors["fast_energy"], 2 * (fastest[:, 1] + fastest[:, 2]))
    last = stage1_errors(model.memae, flows)
    torch.testing.assert_close(last["energy"], flows[:, 6:].square().sum((1, 2, 3)))
    with pytest.raises(ValueError, match="training mode"):
        cube_errors(model.train(), frames, flows)


@pytest.mark.parametrize("final_act", [False, True])
def test_fused_model_is_equal(final_act: bool) -> None:
    model, (frames, flows) = make_model(), make_inputs()
    model.vunet = VUnet(8, 4, final_act=final_act)
    model.train()(frames, flows)  # moves the running statistics away from their start
    before = torch.get_rng_state()
    fused = fuse_for_inference(model)
    assert torch.equal(torch.get_rng_state(), before)  # a resumed run goes on with it
    assert not any(isinstance(m, NormConv2d | nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) and model.training
    expected, found = cube_errors(model.eval(), frames, flows), cube_errors(fused, frames, flows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stage1", [False, True])
def test_bfloat16_scoring_differs_a_little_and_gives_float32(stage1: bool) -> None:
    whole = make_model().eval()
    model, (frames, flows) = whole.memae if stage1 else whole, make_inputs()
    expected = network_errors(model, frames, flows)
    with torch.autocast("cpu", torch.bfloat16):
        found = network_errors(model, frames, flows)
    assert all(values.dtype == torch.float32 for values in found.values())
    assert not torch.equal(found["flow_error"], expected["flow_error"])
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_bfloat16_training_step_has_finite_float32_gradients() -> None:
    model, (frames, flows) = make_model().train(), make_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(frames, flows)
        losses = finetune_loss(output, flows, FinetuneStageConfig())
    assert all(a.dtype == torch.float32 for a in output["attention"])
    assert output["frame_pred"].dtype == output["flow_recon"].dtype == torch.float32
    losses["total"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []


def test_channels_last_is_equal() -> None:
    model, (frames, flows) = make_model().eval(), make_inputs()
    expected = cube_errors(model, frames, flows)
    model = model.to(memory_format=torch.channels_last)
    found = cube_errors(model, frames.to(memory_format=torch.channels_last), flows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_published_initialisation() -> None:
    torch.manual_seed(0)
    block = MLMemAESC(8, 4).down3.block
    expected = (2 / (1 + 0.1**2) / block.conv1.weight[0].numel()) ** 0.5
    assert block.conv1.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert block.norm1.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not block.norm1.bias.any()


def test_convolutions_read_and_write_channels_last() -> None:
    """A mixed layout would be rearranged, on a GPU by a kernel for each layer."""
    model, (frames, flows) = make_model().train(), make_inputs()
    others = []

    def check(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        for each in (inputs[0], output):
            if not each.is_contiguous(memory_format=torch.channels_last):
                others.append((module, each.shape))

    for module in model.modules():
        if isinstance(module, NormConv2d | nn.Conv2d):
            module.register_forward_hook(check)
    layout = torch.channels_last
    model(frames.contiguous(memory_format=layout), flows.contiguous(memory_format=layout))
    assert not others
