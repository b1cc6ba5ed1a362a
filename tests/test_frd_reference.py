"""FRD-UVAD against outputs, losses and gradients of the published implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from losses.frd import AnomalyBank, bank_candidates, frd_loss
from models.frd import FRD

CASES = ("frd_cross4", "frd_cross1")


class Reference:
    """One reference file: its configuration, tensors and a model with its weights."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {key: archive[key] for key in archive.files}
        self.config = json.loads(str(self.arrays["config_json"]))
        self.model = FRD(
            self.config["feature_size"],
            self.config["Vitblock_num"],
            disruption=0.0,
            dropout=0.0,
            auxiliary=True,
        )
        state = {
            key.removeprefix("state/"): torch.from_numpy(value).float()
            for key, value in self.arrays.items()
            if key.startswith("state/") and "fc_att" not in key and "/AE." not in key
        }
        self.model.load_state_dict(state)

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key]).float()

    def step(self, bank: AnomalyBank) -> tuple[dict, dict, torch.Tensor]:
        features = self["input/features"]
        joined = bank.append_to(features)
        output = self.model(joined, num_bank=len(bank))
        terms, details = frd_loss(
            output, joined, auxiliary=output["auxiliary_scores"], num_bank=len(bank)
        )
        return terms, details, output


@pytest.fixture(params=CASES)
def reference(request: pytest.FixtureRequest, vad_data: Path) -> Reference:
    return Reference(vad_data / "reference" / f"{request.param}.npz")


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    tolerance = 1e-4 * max(1e-12, theirs.abs().max().item())
    torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=tolerance)


def test_outputs_errors_and_labels(reference: Reference) -> None:
    _, details, output = reference.step(AnomalyBank(8))
    assert_close(output["reconstruction"], reference["out/reconstruction"])
    assert_close(output["scores"][..., None], reference["out/scores"])
    assert_close(output["auxiliary_scores"][..., None], reference["out/aux_scores"])
    assert_close(details["error"], reference["out/snippet_error"])
    assert_close(details["scores"][..., None], reference["out/scores_running_mean"])
    expected = reference["out/pseudo_reconstruction_labels"]
    assert torch.equal(details["error_labels"], expected)
    assert 0 < expected.sum() < expected.numel()


def test_scores_at_test_time(reference: Reference) -> None:
    features = reference["input/test_features"]  # (T, crops, D)
    scores = reference.model.eval().scorer(features[:, :, None])
    assert_close(scores, reference["out/test_scores"])


def test_losses_bank_and_gradients(reference: Reference) -> None:
    config = reference.config
    bank = AnomalyBank(int(config["beta"] * config["batch"]))
    terms, details, _ = reference.step(bank)
    for name in ("recon", "bank", "score"):
        assert terms[name].item() == pytest.approx(reference[f"pass1/loss_{name}"].item(), rel=1e-4)
    chosen = bank_candidates(
        details["scores"], details["labels"], config["delta"], config["lab_type"]
    )
    bank.add(reference["input/features"][chosen])
    assert_close(bank.items, reference["pass1/bank_after"])
    terms, _, _ = reference.step(bank)
    for name in ("recon", "bank", "score"):
        assert terms[name].item() == pytest.approx(reference[f"pass2/loss_{name}"].item(), rel=1e-4)
    terms["total"].backward()
    for key, parameter in reference.model.named_parameters():
        expected = reference[f"pass2_grad_norm/{key}"].item()
        if np.isnan(expected):
            assert parameter.grad is None
        else:
            assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-2, abs=1e-7), key
