"""FRD-UVAD's step: pseudo labels, losses, the anomaly memory bank."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.frd import (
    AnomalyBank,
    bank_candidates,
    frd_loss,
    running_mean,
    score_loss,
    snippet_error,
    threshold,
)
from losses.frd_step import FRDStep, scorer_loss
from models.frd.frd import FRD


def test_error_is_that_of_the_worst_crop():
    features = torch.zeros(1, 3, 2, 4)
    reconstruction = features.clone()
    reconstruction[0, 1, 0] = 2.0
    reconstruction[0, 2, 1, 0] = 4.0
    assert snippet_error(features, reconstruction).tolist() == [[4.0, 4.0]]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=30)
def test_running_mean(values):
    means = running_mean(torch.tensor([values], dtype=torch.float64))[0]
    for index in range(len(values)):
        assert means[index].item() == pytest.approx(sum(values[: index + 1]) / (index + 1))


def made_up(batch: int = 6, bank: int = 0) -> tuple[dict, torch.Tensor]:
    """Model output whose errors are 0, 1, 2, ... and whose scores are all 0.25."""
    features = torch.zeros(batch + bank, 2, 1, 4)
    error = torch.arange(batch + bank, dtype=torch.float32)
    reconstruction = error.sqrt().view(-1, 1, 1, 1).expand_as(features).clone()
    return {
        "reconstruction": reconstruction.requires_grad_(),
        "scores": torch.full((batch, 1), 0.25, requires_grad=True),
    }, features


def test_terms_by_hand():
    output, features = made_up(batch=4, bank=2)  # errors 0..3, and 4, 5 in the bank
    auxiliary = torch.tensor([[1.0], [0.49], [0.5], [0.0]])
    terms, found = frd_loss(
        output, features, auxiliary, num_bank=2, weights={"recon": 2.0, "bank": 3.0, "score": 5.0}
    )
    limit = 2.5 + torch.arange(6.0).std().item()  # 4.37: no item of the batch is above
    assert found["labels"].sum() == 0
    assert terms["recon"].item() == pytest.approx(1.5)
    assert terms["bank"].item() == pytest.approx(max(0.0, limit - 4.5), abs=1e-6)
    assert terms["score"].item() == pytest.approx(-torch.tensor(0.75).log().item())
    total = 2 * terms["recon"] + 3 * terms["bank"] + 5 * terms["score"]
    assert terms["total"].item() == pytest.approx(total.item())


def test_auxiliary_scores_confirm_labels_and_bank_pulls_the_threshold_down():
    output, features = made_up(batch=6)
    _, alone = frd_loss(output, features)
    assert alone["labels"].flatten().tolist() == [0, 0, 0, 0, 0, 1]
    for score, kept in ((0.5, 1), (0.49, 0)):
        _, found = frd_loss(output, features, torch.full((6, 1), score))
        assert found["labels"].sum() == kept and found["error_labels"].sum() == 1
    output, features = made_up(batch=6, bank=1)
    with torch.no_grad():
        output["reconstruction"][-1] = 0.5  # a bank item that is reconstructed well
    terms, _ = frd_loss(output, features, num_bank=1)
    terms["bank"].backward()
    assert terms["bank"] > 0 and output["reconstruction"].grad[0].abs().sum() == 0
    assert output["reconstruction"].grad[5].abs().sum() > 0  # the threshold is not detached


def test_candidates_of_both_kinds_and_delta():
    scores = torch.tensor([[0.9, 0.9], [0.9, 0.1], [0.1, 0.1], [0.9, 0.9]])
    labels = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    assert bank_candidates(scores, labels, 0.0, "wlab").tolist() == [True, True, False, True]
    assert bank_candidates(scores, labels, 0.0, "slab").tolist() == [True, False, False, False]
    assert not bank_candidates(scores, labels, 5.0, "wlab").any()
    limit = threshold(scores, 0.5).item()
    assert limit == pytest.approx(scores.mean().item() + 0.5 * scores.std().item())


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 6))
@settings(max_examples=40)
def test_bank_never_holds_more_than_its_capacity(sizes, capacity):
    bank = AnomalyBank(capacity)
    for number, size in enumerate(sizes):
        bank.add(torch.full((size, 1, 1, 2), float(number)))
        assert len(bank) <= capacity
    assert len(bank) == min(capacity, sum(sizes))
    copy = AnomalyBank(capacity)
    copy.load_state_dict(bank.state_dict())
    assert len(copy) == len(bank)


def test_bank_keeps_a_random_choice_of_old_and_new():
    torch.manual_seed(0)
    kept = set()
    for _ in range(60):
        bank = AnomalyBank(4)
        bank.add(torch.arange(4.0).view(4, 1, 1, 1))
        bank.add(torch.arange(4.0, 8.0).view(4, 1, 1, 1))
        kept |= set(bank.items.flatten().tolist())
        assert len(set(bank.items.flatten().tolist())) == 4
    assert kept == set(range(8))


def make_step(**changes) -> FRDStep:
    given = {"bank": AnomalyBank(3), "kind": "wlab", "delta": -5.0, "weights": {}}
    return FRDStep(**{**given, "aux_threshold": 0.5, **changes})


def test_step_fills_the_bank_and_then_uses_it():
    torch.manual_seed(0)
    model, features = FRD(256, 1, disruption=0.0), torch.randn(8, 2, 2, 256)
    features[5] *= 3
    step, rows = make_step(), torch.arange(16).view(8, 2)
    first = step(model, rows, features)
    assert first["bank"] == 0 and 0 < first["share_labels"] <= 0.25
    assert len(step.bank) and torch.equal(step.bank.items[0], features[5])
    assert step(model, rows, features)["recon"].item() == pytest.approx(first["recon"].item())
    blanked = make_step(table=torch.zeros(16))
    assert blanked(model, rows, features)["share_labels"] == 0 and not len(blanked.bank)
    confirmed = make_step(table=torch.ones(16), bank=None)
    assert confirmed(model, rows, features)["share_labels"] == first["share_labels"]


def test_losses_are_finite_in_bfloat16():
    model, features = FRD(256, 2), torch.randn(4, 2, 2, 256)
    with torch.autocast("cpu", torch.bfloat16):
        terms = make_step()(model, torch.zeros(4, 2, dtype=torch.int64), features)
        scorer = scorer_loss(torch.full((2, 1), 0.5, dtype=torch.bfloat16), torch.ones(2, 1))
    terms["total"].backward()
    assert all(torch.isfinite(value) for value in (*terms.values(), scorer["total"]))
    assert terms["score"].dtype == torch.float32


def test_a_balanced_loss_weighs_both_labels_alike():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.9]).requires_grad_()
    labels = torch.tensor([0.0, 0.0, 0.0, 1.0])
    plain = -torch.log(torch.tensor([0.9, 0.8, 0.7, 0.9]))
    assert score_loss(scores, labels).item() == pytest.approx(plain.mean().item())
    expected = (plain[:3].mean() + plain[3]) / 2
    assert score_loss(scores, labels, 0.25).item() == pytest.approx(expected.item())
    for share in (None, 0.0, 1.0):
        assert torch.equal(score_loss(scores, labels, share), score_loss(scores, labels))
