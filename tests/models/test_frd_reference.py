"""FRD-UVAD against outputs, losses and gradients of the published implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from losses.frd import AnomalyBank, bank_candidates, frd_loss
from models.frd.frd import FRD
from models.frd.scorers import read_auxiliary, read_frd_checkpoint, scorer_from_checkpoint

CASES = ("frd_cross4", "frd_cross1")


class Reference:
    """One reference file: its configuration, tensors, and a model with its weights."""

    def __init__(self, path: Path, folder: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {key: archive[key] for key in archive.files}
        self.config = json.loads(str(self.arrays["config_json"]))
        state = {
            key.removeprefix("state/"): torch.from_numpy(value).float()
            for key, value in self.arrays.items()
            if key.startswith("state/")
        }
        self.file = folder / "published.pkl"
        torch.save(state, self.file)
        size, blocks = self.config["feature_size"], self.config["Vitblock_num"]
        self.model = FRD(size, blocks, disruption=0.0, dropout=0.0)
        own = self.model.state_dict()
        self.model.load_state_dict({key: state[key] for key in own})
        self.unused = {key for key in state if key not in own}
        self.auxiliary = scorer_from_checkpoint(read_auxiliary(self.file), "published")

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key]).float()

    def step(self, bank: AnomalyBank) -> tuple[dict, dict, dict]:
        """Losses, details and model output of one step with the auxiliary scorer on."""
        features = self["input/features"]
        joined = bank.append_to(features)
        output = self.model(joined, num_bank=len(bank))
        with torch.no_grad():
            scores = self.auxiliary(features)
        return *frd_loss(output, joined, scores, num_bank=len(bank)), output


@pytest.fixture(params=CASES)
def reference(request: pytest.FixtureRequest, vad_data: Path, tmp_path: Path) -> Reference:
    return Reference(vad_data / "reference" / f"{request.param}.npz", tmp_path)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    tolerance = 1e-4 * max(1e-12, theirs.abs().max().item())
    torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=tolerance)


def test_published_keys_are_all_known(reference: Reference) -> None:
    assert {key.split(".")[0] for key in reference.unused} == {"AE", "scorer_c2fpl"}


def test_outputs_errors_and_labels(reference: Reference) -> None:
    _, details, output = reference.step(AnomalyBank(8))
    assert_close(output["reconstruction"], reference["out/reconstruction"])
    assert_close(output["scores"][..., None], reference["out/scores"])
    auxiliary = reference.auxiliary(reference["input/features"])
    assert_close(auxiliary[..., None], reference["out/aux_scores"])
    assert_close(details["error"], reference["out/snippet_error"])
    assert_close(details["scores"][..., None], reference["out/scores_running_mean"])
    expected = reference["out/pseudo_reconstruction_labels"]
    assert torch.equal(details["error_labels"], expected)
    assert 0 < expected.sum() < expected.numel()


def test_scores_at_test_time(reference: Reference) -> None:
    scorer = scorer_from_checkpoint(read_frd_checkpoint(reference.file), "published")
    features = reference["input/test_features"]  # (T, crops, D)
    assert_close(scorer(features[:, :, None]), reference["out/test_scores"])


def assert_losses(terms: dict[str, torch.Tensor], reference: Reference, step: str) -> None:
    for name in ("recon", "bank", "score"):
        expected = reference[f"{step}/loss_{name}"].item()
        assert terms[name].item() == pytest.approx(expected, rel=1e-4), name


def test_losses_bank_and_gradients(reference: Reference) -> None:
    config = reference.config
    bank = AnomalyBank(int(config["beta"] * config["batch"]))
    terms, found, _ = reference.step(bank)
    assert_losses(terms, reference, "pass1")
    kind, delta = config["lab_type"], config["delta"]
    chosen = bank_candidates(found["scores"], found["labels"], delta, kind)
    bank.add(reference["input/features"][chosen])
    assert_close(bank.items, reference["pass1/bank_after"])
    terms, _, _ = reference.step(bank)
    assert_losses(terms, reference, "pass2")
    terms["total"].backward()
    for key, parameter in reference.model.named_parameters():
        expected = reference[f"pass2_grad_norm/{key}"].item()
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-2, abs=1e-7), key
    without = {k for k in reference.unused if not np.isnan(reference[f"pass2_grad_norm/{k}"])}
    assert not without
