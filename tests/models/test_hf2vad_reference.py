"""Our HF2-VAD against outputs of the published implementation (needs the reference files)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.scoring.openvino_backend import CompiledNetwork
from losses.hf2vad import finetune_loss
from models.hf2vad.errors import cube_errors, stage1_errors
from models.hf2vad.hf2vad import HF2VAD
from models.hf2vad.ml_memae_sc import MLMemAESC
from models.hf2vad.vunet import VUnet
from published.state_dict_keys import from_published, to_published
from utils.config.hf2vad import FinetuneStageConfig

OUTPUT_TOLERANCE = 1e-4  # of the tensor's largest value
GRADIENT_TOLERANCE = 1e-2
STEP = 8e-5  # learning rate
ROUNDING = 1e-3  # of the largest gradient


class Reference:
    """One reference file, its model and its inputs."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {key: archive[key] for key in archive.files}
        self.config = json.loads(str(self.arrays["config_json"]))
        self.state = self.published_state()
        self.frames, self.flows = self["input/frames"], self["input/flows"]
        self.model = build_model(self.config)
        self.model.load_state_dict(from_published(self.state, self.model.state_dict()))

    def __getitem__(self, key: str) -> torch.Tensor:
        tensor = torch.from_numpy(np.asarray(self.arrays[key]))
        return tensor.float() if tensor.is_floating_point() else tensor

    def published_state(self) -> dict[str, torch.Tensor]:
        keys = [key for key in self.arrays if key.startswith("state/")]
        return {key.removeprefix("state/"): self[key] for key in keys}

    def check(self, key: str, found: torch.Tensor) -> None:
        expected = self[key]
        assert found.shape == expected.shape, key
        error = (found.detach() - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
        print(f"{key}: relative error {error:.2e}")
        assert error < OUTPUT_TOLERANCE, key


def build_model(config: dict) -> HF2VAD:
    memae = MLMemAESC(
        config["feature_root"],
        config["num_slots"],
        config["shrink_thres"],
        config["mem_usage"],
        config["skip_ops"],
    )
    vunet = VUnet(config["nf_max"], config["nf_start"], config["dropout_prob"], config["final_act"])
    return HF2VAD(memae, vunet)


@pytest.fixture(params=["hf2vad_3mem", "hf2vad_1mem"])
def reference(request: pytest.FixtureRequest, vad_data: Path) -> Reference:
    return Reference(vad_data / "reference" / f"{request.param}.npz")


def test_evaluation_outputs(reference: Reference) -> None:
    model = reference.model.eval()
    with torch.inference_mode():
        output = model(reference.frames, reference.flows, with_prior=True)
    reference.check("eval/frame_pred", output["frame_pred"])
    reference.check("eval/of_recon", output["flow_recon"])
    for index, size in enumerate(("4by4", "8by8")):
        reference.check(f"eval/q_means.{size}", output["q_means"][index])
        reference.check(f"eval/p_means.{size}", output["p_means"][index])


def test_openvino_outputs(reference: Reference) -> None:
    compiled = CompiledNetwork(reference.model.eval())
    flow_recon, frame_pred = compiled(reference.frames, reference.flows)
    reference.check("eval/of_recon", flow_recon)
    reference.check("eval/frame_pred", frame_pred)


def test_scores(reference: Reference) -> None:
    errors = cube_errors(reference.model.eval(), reference.frames, reference.flows)
    reference.check("eval/score_flow", errors["flow_error"])
    reference.check("eval/score_frame", errors["frame_error"])


def test_stage_1_outputs(reference: Reference) -> None:
    memae = reference.model.memae.eval()
    with torch.inference_mode():
        output = memae(reference.flows[:, -2:])
    reference.check("eval/memAE_last_flow.recon", output["flow_recon"])
    levels = [level for level in (3, 2, 1) if reference.config["mem_usage"][level]]
    assert len(output["attention"]) == len(levels)
    for level, attention in zip(levels, output["attention"], strict=True):
        reference.check(f"eval/memAE_last_flow.att_weight{level}", attention)
    errors = stage1_errors(memae, reference.flows)
    expected = (reference["eval/memAE_last_flow.recon"] - reference.flows[:, -2:]).square()
    torch.testing.assert_close(errors["flow_error"], expected.sum(dim=(1, 2, 3)), rtol=1e-4, atol=0)


def test_finetune_step(reference: Reference) -> None:
    model = reference.model.train()
    output = model(reference.frames, reference.flows, sample=False)
    losses = finetune_loss(output, reference.flows, FinetuneStageConfig())
    for name, value in losses.items():
        reference.check(f"train_loss/{name}", value)
    optimizer = torch.optim.Adam(model.parameters(), lr=STEP, eps=1e-7)
    losses["total"].backward()
    check_gradient_norms(reference, model)
    optimizer.step()
    after = to_published(model.state_dict())
    gradients = to_published({name: p.grad for name, p in model.named_parameters()})
    for key in [key for key in reference.arrays if key.startswith("after_step/")]:
        name = key.removeprefix("after_step/")
        value, gradient = after[name], gradients.get(name)
        if gradient is not None:
            # Where a gradient is rounding alone, Adam's first step has its size and any sign.
            alone = gradient.abs() < ROUNDING * gradient.abs().max()
            assert alone.float().mean() < 0.1, key  # memory slots that nothing reads
            assert ((value - reference[key]).abs()[alone] <= 2.01 * STEP).all(), key
            value = torch.where(alone, reference[key], value)
        reference.check(key, value)


def check_gradient_norms(reference: Reference, model: HF2VAD) -> None:
    norms = to_published({name: p.grad.norm() for name, p in model.named_parameters()})
    prefix = "train_grad_norm/"
    assert {prefix + key for key in norms} == {k for k in reference.arrays if k.startswith(prefix)}
    worst = 0.0
    for key, norm in norms.items():
        expected = float(reference[prefix + key])
        if key.startswith("memAE.") and key.endswith((".conv.0.bias", ".conv.3.bias")):
            # BatchNorm takes the mean away again: the true gradient is zero.
            assert float(norm) < 1e-2
            continue
        error = abs(float(norm) - expected) / expected
        worst = max(worst, error)
        assert error < GRADIENT_TOLERANCE, key
    print(f"gradient norms: worst relative error {worst:.2e}")


def test_published_names_round_trip(reference: Reference) -> None:
    ours = reference.model.state_dict()
    again = to_published(ours)
    assert again.keys() == reference.state.keys()
    for key, tensor in again.items():
        assert torch.equal(tensor, reference.state[key]), key
    stage1 = {k.removeprefix("memAE."): v for k, v in again.items() if k.startswith("memAE.")}
    memae = reference.model.memae.state_dict()
    assert from_published(stage1, memae).keys() == memae.keys()
    assert to_published(memae).keys() == stage1.keys()
