"""FRD-UVAD against the published formulas written once more (``tests.helpers.plain_frd``)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from losses.frd import AnomalyBank, bank_candidates, frd_loss
from models.frd.frd import FRD
from models.frd.scorers import (
    read_auxiliary,
    read_frd_checkpoint,
    reconstructor_from_checkpoint,
    scorer_from_checkpoint,
)
from tests.helpers.plain_frd import (
    AUXILIARY,
    SCORER,
    Step,
    Weights,
    for_the_bank,
    reconstruct,
    score,
    training_step,
)

SIZE, CROPS = 256, 2
LOSS_WEIGHTS = {"recon": 0.5, "bank": 3.0, "score": 2.0}
TOLERANCE = 1e-4  # of an array's largest value


class Case:
    """Features of which some are unlike the others, weights, and our model with them."""

    def __init__(self, num_blocks: int, snippets: int, folder) -> None:
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(6, CROPS, snippets, SIZE)).astype(np.float32)
        self.x[2:4] *= 3.0
        self.weights = Weights()
        self.recon = reconstruct(self.weights, self.x.astype(float), num_blocks)
        self.scores = score(self.weights, self.x.astype(float), SCORER)
        self.auxiliary = score(self.weights, self.x.astype(float), AUXILIARY)
        state = {name: torch.from_numpy(a).float() for name, a in self.weights.arrays.items()}
        self.file = folder / "published.pkl"
        torch.save(state, self.file)
        self.model = FRD(SIZE, num_blocks, disruption=0.0, dropout=0.0)
        self.model.load_state_dict({key: state[key] for key in self.model.state_dict()})

    @property
    def features(self) -> torch.Tensor:
        return torch.from_numpy(self.x)


@pytest.fixture(params=[(0, 4), (1, 2), (2, 3), (4, 1), (4, 4)], ids=lambda p: "{}x{}".format(*p))
def case(request, tmp_path) -> Case:
    return Case(*request.param, tmp_path)


def assert_near(found: torch.Tensor, expected: np.ndarray) -> None:
    found = found.detach().double().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_outputs(case):
    output = case.model(case.features)
    assert_near(output["reconstruction"], case.recon)
    assert_near(output["scores"], case.scores)
    assert case.scores.std() > 30 * TOLERANCE and case.recon.std(axis=0).min() > 30 * TOLERANCE


def test_scorers_out_of_a_published_file(case):
    checkpoint = read_frd_checkpoint(case.file)
    assert_near(scorer_from_checkpoint(checkpoint, "file")(case.features), case.scores)
    auxiliary = scorer_from_checkpoint(read_auxiliary(case.file), "file")
    assert_near(auxiliary(case.features), case.auxiliary)
    reconstructor = reconstructor_from_checkpoint(checkpoint, "file")
    assert_near(reconstructor.reconstruct(case.features), case.recon)


def check_step(found: tuple[dict, dict], expected: Step) -> None:
    terms, details = found
    for name, term in expected.terms.items():
        assert float(terms[name].detach()) == pytest.approx(term, rel=TOLERANCE), name
    total = sum(LOSS_WEIGHTS[name] * term for name, term in expected.terms.items())
    assert float(terms["total"].detach()) == pytest.approx(total, rel=TOLERANCE)
    assert_near(details["error"], expected.error)
    assert_near(details["scores"], expected.scores)
    assert np.array_equal(details["error_labels"], expected.error_labels)
    assert np.array_equal(details["labels"], expected.labels)


@pytest.mark.parametrize("with_auxiliary", [False, True])
def test_a_training_step_without_a_bank(case, with_auxiliary):
    auxiliary = case.auxiliary if with_auxiliary else None
    expected = training_step(case.x, case.x[:0], case.recon, case.scores, auxiliary)
    assert 0 < expected.error_labels.sum() < expected.error_labels.size
    given = None if auxiliary is None else torch.from_numpy(auxiliary)
    found = frd_loss(case.model(case.features), case.features, given, weights=LOSS_WEIGHTS)
    check_step(found, expected)


def test_a_training_step_with_a_bank(case):
    known = case.x[2:4] / 3.0  # well reconstructed: the bank pushes
    recon = np.concatenate([case.recon, reconstruct(case.weights, known, len_blocks(case))])
    expected = training_step(case.x, known, recon, case.scores, None)
    assert expected.terms["bank"] > 0
    bank = AnomalyBank(8)
    bank.add(torch.from_numpy(known))
    joined = bank.append_to(case.features)
    output = case.model(joined, num_bank=len(bank))
    check_step(frd_loss(output, joined, num_bank=len(bank), weights=LOSS_WEIGHTS), expected)


def len_blocks(case: Case) -> int:
    return len(case.model.decoder.decoder_blocks) if hasattr(case.model, "decoder") else 0


@pytest.mark.parametrize("kind", ["wlab", "slab"])
@pytest.mark.parametrize("delta", [-0.5, 0.5])
def test_what_the_bank_takes(kind, delta):
    rng = np.random.default_rng(2)
    scores, labels = rng.uniform(size=(40, 2)), rng.integers(0, 2, (40, 2)).astype(float)
    expected = for_the_bank(Step(labels, labels, labels, scores, {}), delta, kind)
    assert 0 < expected.sum() < 40
    found = bank_candidates(torch.from_numpy(scores), torch.from_numpy(labels), delta, kind)
    assert np.array_equal(found, expected)


def test_gradients_are_the_formulas_own(tmp_path):
    """By differences: the total loss moves as the gradient says, thresholds not detached."""
    case = Case(2, 3, tmp_path)
    model, features = case.model.double(), case.features.double()
    known = features[2:4] / 3.0
    joined = torch.cat([features, known])
    terms, _ = frd_loss(model(joined, num_bank=2), joined, num_bank=2, weights=LOSS_WEIGHTS)
    terms["total"].backward()
    for name in (
        "decoder.decoder_blocks.1.attn.qkv.weight",
        "scorer.fc2.weight",
        "decoder.norm.bias",
    ):
        gradient = dict(model.named_parameters())[name].grad
        place = np.unravel_index(int(gradient.abs().argmax()), gradient.shape)
        slope = (total_at(case, name, place, 1e-5) - total_at(case, name, place, -1e-5)) / 2e-5
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-3), name


def total_at(case: Case, name: str, place: tuple, step: float) -> float:
    array = case.weights.arrays[name]
    before = array[place]
    array[place] = before + step
    x = case.x.astype(float)
    known = x[2:4] / 3.0
    recon = reconstruct(case.weights, np.concatenate([x, known]), 2)
    scores = score(case.weights, x, SCORER)
    terms = training_step(x, known, recon, scores, None).terms
    array[place] = before
    return sum(LOSS_WEIGHTS[term] * value for term, value in terms.items())
