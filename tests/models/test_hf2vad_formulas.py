"""HF2-VAD against the published formulas written once more (``tests.helpers.plain_hf2vad``)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.hf2vad.errors import cube_errors, stage1_errors
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from published.state_dict_keys import from_published, to_published
from tests.helpers.plain_hf2vad import Sizes, Weights, autoencoder
from tests.helpers.plain_hf2vad_steps import Result, flow_terms, frame_terms, whole_model

CASES = {
    "three memories": Sizes(),
    "one memory": Sizes(
        shrink=0.0, mem_usage=(False, False, False, True), skips=("none", "none", "none")
    ),
    "plain convolutions": Sizes(
        f=3, mem_usage=(False, True, False, True), skips=("concat", "none", "concat"), plain=True
    ),
}
WEIGHTS = {"recon": 1.1, "sparsity": 0.3, "kl": 0.01, "frame": 2.0, "grad": 0.7}
SETTINGS = SimpleNamespace(
    lam_recon=1.1, lam_sparse=0.3, lam_kl=0.01, lam_frame=2.0, lam_grad=0.7,
    intensity_loss_norm=2, alpha=1,
)  # fmt: skip
TOLERANCE = 1e-4  # of a tensor's largest value
GRADIENT_TOLERANCE = 1e-3


class Case:
    """Sizes, weights, cubes, and our model with the same weights."""

    def __init__(self, sizes: Sizes) -> None:
        generator = torch.Generator().manual_seed(3)
        size, spread = (6, 15, 32, 32), (6, 15, 1, 1)
        draw = {"generator": generator}
        self.frames = torch.rand(size, **draw) * torch.rand(spread, **draw)
        self.flows = torch.randn(6, 8, 32, 32, **draw) + 3 * torch.randn(6, 8, 1, 1, **draw)
        self.sizes, self.weights = sizes, Weights()
        self.expected = whole_model(self.weights, sizes, *self.doubled())
        self.model = build(sizes, self.weights)
        norms = [name for name in self.weights.tensors if name.endswith(".running_mean")]
        parts = [name.removesuffix(".running_mean").rsplit(".", 1) for name in norms]
        self.before_norm = {f"{block}.{int(number) - 1}.bias" for block, number in parts}

    def doubled(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.frames.double(), self.flows.double()

    def gradients_agree(self, total: torch.Tensor, parameters: dict) -> None:
        """Compare gradients of ``total`` with ours, which are there already."""
        total.backward()
        ours = to_published({name: p.grad for name, p in parameters.items()})
        for name, gradient in ours.items():
            expected = self.weights.tensors[name].grad
            # BatchNorm takes the mean away: the gradient of a bias before it is zero.
            weight = name.replace("bias", "weight") if name in self.before_norm else name
            scale = float(self.weights.tensors[weight].grad.abs().max())
            difference = float((gradient - expected).abs().max())
            assert difference < GRADIENT_TOLERANCE * scale, name


def build(sizes: Sizes, weights: Weights) -> HF2VAD:
    memae = {
        "feature_root": sizes.f,
        "num_slots": sizes.slots,
        "shrink_threshold": sizes.shrink,
        "mem_usage": sizes.mem_usage,
        "skip_ops": sizes.skips,
    }
    vunet = {"nf_max": sizes.nf, "nf_start": sizes.nf0, "dropout": 0.0, "final_act": sizes.plain}
    model = build_hf2vad(memae, vunet)
    model.load_state_dict(from_published(weights.published(), model.state_dict()))
    return model.eval()


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return Case(CASES[request.param])


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    scale = float(expected.detach().abs().max())
    assert float((found.detach() - expected.detach()).abs().max()) < TOLERANCE * scale


def assert_losses(found: dict, expected: dict) -> None:
    assert found.keys() == {*expected, "total"}
    for name, term in expected.items():
        assert float(found[name].detach()) == pytest.approx(float(term.detach()), rel=TOLERANCE), (
            name
        )
    assert float(found["total"].detach()) == pytest.approx(
        float(weigh(expected).detach()), rel=TOLERANCE
    )


def weigh(terms: dict) -> torch.Tensor:
    return sum(WEIGHTS[name] * term for name, term in terms.items())


def squared_sum(difference: torch.Tensor) -> torch.Tensor:
    return (difference**2).flatten(1).sum(1)


def check_outputs(output: dict, expected: Result) -> None:
    assert_near(output["flow_recon"], expected.recon)
    assert_near(output["frame_pred"], expected.frame)
    for found, means in ((output["q_means"], expected.q), (output["p_means"], expected.p)):
        assert len(found) == len(means) == 2
        for ours, theirs in zip(found, means, strict=True):
            assert_near(ours, theirs)
    assert len(output["attention"]) == len(expected.attention)
    for ours, theirs in zip(output["attention"], expected.attention.values(), strict=True):
        assert_near(ours, theirs)


def test_the_formulas_tell_cubes_apart(case):
    """Else a network that gives the same for all cubes could agree with them."""
    result = case.expected
    for tensor in (result.recon, result.frame, *result.q, *result.p):
        tensor = tensor.detach()
        assert float((tensor.std(0) / tensor.abs().max()).max()) > 30 * TOLERANCE
    for attention in case.expected.attention.values():
        assert float(attention.detach().std(0).max()) > 0.02


def test_outputs(case):
    check_outputs(case.model(case.frames, case.flows, with_prior=True), case.expected)


def test_outputs_of_the_fused_model(case):
    fused = fuse_for_inference(case.model)
    check_outputs(fused(case.frames, case.flows, with_prior=True), case.expected)


def test_scores(case):
    frames, flows = case.doubled()
    errors = cube_errors(case.model, case.frames, case.flows)
    assert_near(errors["flow_error"], squared_sum(case.expected.recon - flows))
    assert_near(errors["frame_error"], squared_sum(case.expected.frame - frames[:, 12:]))
    assert_near(errors["energy"], squared_sum(flows))


def test_scores_of_stage_1_are_of_the_last_flow(case):
    last = case.flows.double()[:, 6:]
    recon, _ = autoencoder(case.weights, case.sizes, last)
    errors = stage1_errors(case.model.memae, case.flows)
    assert_near(errors["flow_error"], squared_sum(recon - last))
    assert_near(errors["energy"], squared_sum(last))


def test_training_step_of_stage_1(case):
    case.weights.training = True
    flow = case.flows[:, 6:]
    recon, attention = autoencoder(case.weights, case.sizes, flow.double())
    expected = flow_terms(recon, flow.double(), attention)
    losses = memae_loss(case.model.memae.train()(flow), flow, SETTINGS)
    assert_losses(losses, expected)
    losses["total"].backward()
    parameters = {f"memae.{name}": p for name, p in case.model.memae.named_parameters()}
    case.gradients_agree(weigh(expected), parameters)


def fixed_noise(monkeypatch) -> list[torch.Tensor]:
    """Make our model draw what the formulas draw: [at 4x4, at 8x8]."""
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(6, 8, size, size, generator=generator) for size in (4, 8)]
    by_size = {each.shape: each for each in noise}
    monkeypatch.setattr(torch, "randn_like", lambda mean: by_size[mean.shape])
    return noise


def test_training_step_of_stage_2(case, monkeypatch):
    """The autoencoder is frozen, in evaluation mode; latents are drawn."""
    case.model.freeze_memae()
    noise = iter([each.double() for each in fixed_noise(monkeypatch)])
    frames, flows = case.doubled()
    result = whole_model(case.weights, case.sizes, frames, flows, lambda _: next(noise))
    expected = frame_terms(result, frames[:, 12:])
    losses = cvae_loss(case.model.train()(case.frames, case.flows), SETTINGS)
    assert_losses(losses, expected)
    losses["total"].backward()
    parameters = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    assert all(name.startswith("vunet.") for name in parameters)
    case.gradients_agree(weigh(expected), parameters)


def test_training_step_of_stage_3(case, monkeypatch):
    """BatchNorm reads the four flows as four batches, one after the other."""
    case.weights.training = True
    noise = iter([each.double() for each in fixed_noise(monkeypatch)])
    frames, flows = case.doubled()
    result = whole_model(case.weights, case.sizes, frames, flows, lambda _: next(noise))
    expected = frame_terms(result, frames[:, 12:])
    expected |= flow_terms(result.recon, flows, result.attention)
    output = case.model.train()(case.frames, case.flows)
    losses = finetune_loss(output, case.flows, SETTINGS)
    assert_losses(losses, expected)
    losses["total"].backward()
    case.gradients_agree(weigh(expected), dict(case.model.named_parameters()))
    after = to_published(case.model.state_dict())
    moved = [name for name in case.weights.tensors if "running_" in name]
    assert len(moved) == 28
    for name in moved:
        assert_near(after[name].double(), case.weights.tensors[name])


@pytest.mark.parametrize(("power", "alpha"), [(1, 1), (2, 2)])
def test_other_exponents_of_the_losses(power, alpha):
    case = Case(CASES["three memories"])
    settings = SimpleNamespace(**{**vars(SETTINGS), "intensity_loss_norm": power, "alpha": alpha})
    output = case.model(case.frames, case.flows, with_prior=True)
    target = case.doubled()[0][:, 12:]
    assert_losses(cvae_loss(output, settings), frame_terms(case.expected, target, power, alpha))
