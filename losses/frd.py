"""The training step of FRD-UVAD (IEEE TMM 2024, §III): errors, pseudo labels, losses, the bank.

Shapes: B items of K consecutive snippets of ``crops`` feature vectors of D values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.distributed import (
    broadcast,
    count,
    gather_interleaved_rows,
    gather_rows,
    index,
    interleaved_order,
)
from utils.errors import UserError
from utils.transfer import read_later

# Term -> the key of its weight in the block ``frd`` of the configuration (``Lambda`` as published).
WEIGHTS = {"recon": "lam_recon", "bank": "lam_bank", "score": "lam_score"}


def snippet_error(features: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean squared error of each snippet, the largest over its crops.

    Args:
        features: (B, crops, K, D) float, before the disruption.
        reconstruction: same shape.

    Returns:
        (B, K) errors.
    """
    return (reconstruction - features).square().mean(dim=-1).amax(dim=1)


def threshold(values: Tensor, deviations: float) -> Tensor:
    """Mean plus ``deviations`` unbiased standard deviations of all values, () with gradient."""
    if values.numel() < 2:  # one value has no standard deviation
        return values.mean()
    return values.mean() + deviations * values.std()


def running_mean(scores: Tensor) -> Tensor:
    """Replace each of the K scores (B, K) by the mean of it and those before it."""
    counts = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    return scores.cumsum(dim=1) / counts


def frd_loss(
    output: dict[str, Tensor],
    features: Tensor,
    auxiliary: Tensor | None = None,
    num_bank: int = 0,
    weights: Mapping[str, float] | None = None,
    aux_threshold: float = 0.5,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and pseudo labels of one training step (FRD-UVAD §III-C to III-E).

    They depend on statistics of the whole step, so processes that share it gather their errors
    and scores first; B and M below are a process's own shares in the arguments, and those of all
    processes in the results.

    Args:
        output: of the model's forward pass.
        features: (B + M, crops, K, D), the M = ``num_bank`` items of the bank last.
        auxiliary: (B, K) auxiliary scores in [0, 1]; None: pseudo labels stay as they are.
        weights: of the terms, by name (the published ``Lambda``); ``None``: all 1.
        aux_threshold: an auxiliary score from here on confirms a pseudo label.

    Returns:
        Terms ``recon``, ``bank``, ``score`` (unweighted scalars) and ``total`` (weighted); and,
        without gradient, the (B, K) tensors ``error``, ``error_labels`` (before the auxiliary
        scorer), ``labels`` (after it) and ``scores`` (running means).
    """
    error = snippet_error(features, output["reconstruction"])
    batch_error, bank_error = error.split([len(features) - num_bank, num_bank])
    batch_error, bank_error = (
        gather_interleaved_rows(batch_error),
        gather_interleaved_rows(bank_error),
    )
    auxiliary = None if auxiliary is None else gather_interleaved_rows(auxiliary)
    error_threshold = threshold(torch.cat([batch_error, bank_error]), 1.0)
    error_labels = (batch_error >= error_threshold).to(error.dtype).detach()
    confirmed = error_labels if auxiliary is None else error_labels * (auxiliary >= aux_threshold)
    scores = running_mean(gather_interleaved_rows(output["scores"]))
    terms = {
        "recon": batch_error.mean(),
        "bank": _bank_loss(bank_error, error_threshold),
        "score": score_loss(scores, confirmed),
    }
    weighted = [term * (weights or {}).get(name, 1.0) for name, term in terms.items()]
    terms["total"] = sum(weighted, weighted[0].new_zeros(()))
    details = {
        "error": batch_error.detach(),
        "error_labels": error_labels,
        "labels": confirmed,
        "scores": scores.detach(),
    }
    return terms, details


def score_loss(scores: Tensor, labels: Tensor, positives: float | None = None) -> Tensor:
    """Binary cross-entropy of scores in (0, 1) with labels, in float32 whatever the autocast.

    Args:
        scores, labels: of one shape.
        positives: share of the labels that are 1 in the whole training set; the loss is then
            balanced, both classes weighing a half. ``None``, 0 or 1: every snippet weighs the same.
    """
    labels = labels.float()
    weights = None
    if positives and positives < 1:
        weights = torch.where(labels > 0, 0.5 / positives, 0.5 / (1 - positives))
    with torch.autocast(scores.device.type, enabled=False):  # not defined in half precision
        return F.binary_cross_entropy(scores.float(), labels, weights)


def _bank_loss(bank_error: Tensor, error_threshold: Tensor) -> Tensor:
    """Push known anomalies above the threshold; zero while there are none."""
    if not len(bank_error):
        return error_threshold.new_zeros(())
    return torch.relu(error_threshold - bank_error.mean())


def bank_candidates(scores: Tensor, labels: Tensor, delta: float, kind: str) -> Tensor:
    """Which items the latent anomaly memory bank takes (FRD-UVAD §III-D).

    Args:
        scores: (B, K) running means.
        labels: (B, K) pseudo labels after the auxiliary scorer.
        delta: deviations above the mean from which a score counts.
        kind: ``wlab``: one such snippet is enough; ``slab``: all K must be.

    Returns:
        (B,) bool.
    """
    chosen = (scores >= threshold(scores, delta)) & (labels > 0)
    return chosen.any(dim=1) if kind == "wlab" else chosen.all(dim=1)


class AnomalyBank:
    """Latent anomaly memory bank: undisrupted items, kept across steps and epochs.

    What a step finds is offered and taken when the bank is next asked for, so that a GPU goes on
    computing while the host learns how many items were found.

    Args:
        capacity: most items held; of more, a random choice stays (drawn from torch's generator).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: Tensor | None = None  # (M, crops, K, D)
        self._offered: tuple[Tensor, Callable[[], Tensor]] | None = None

    @property
    def items(self) -> Tensor | None:
        """(M, crops, K, D), or ``None`` while there are none (collective)."""
        self._settle()
        return self._held

    def __len__(self) -> int:
        return 0 if self.items is None else len(self.items)

    def append_to(self, features: Tensor) -> Tensor:
        """``features`` (B, crops, K, D) followed by this process's share of the bank's items."""
        items = self.items
        if items is None or not len(items):
            return features
        if items.shape[1:] != features.shape[1:]:
            raise UserError(
                f"the memory bank that was resumed holds items {tuple(items.shape[1:])}, the "
                f"features are {tuple(features.shape[1:])}; pass --restart"
            )
        return torch.cat([features, items[index() :: count()].to(features)])

    def offer(self, items: Tensor, chosen: Tensor) -> None:
        """Take the ``chosen`` items of a step.

        Args:
            items: (n, crops, K, D), this process's share of the step's items.
            chosen: (B,) bool of all processes' items, the same on all.
        """
        self._settle()
        self._offered = items.detach(), read_later(chosen)

    def add(self, items: Tensor) -> None:
        """Take ``items`` (n, crops, K, D), then trim to the capacity.

        All processes hold the same bank, so all must be given the same items.
        """
        self._settle()
        self._add(items)

    def _settle(self) -> None:
        """Add what was offered (collective)."""
        if self._offered is None:
            return
        (items, read), self._offered = self._offered, None
        chosen = read()
        own = chosen[index() :: count()].nonzero().flatten()
        taken = gather_rows(items[own.to(items.device, non_blocking=True)])
        order = interleaved_order(chosen.nonzero().flatten())
        self._add(taken[order.to(taken.device, non_blocking=True)])

    def _add(self, items: Tensor) -> None:
        if not len(items):
            return
        old = [] if self._held is None else [self._held.to(items)]
        held = torch.cat([*old, items.detach()])
        if len(held) > self.capacity:
            kept = broadcast(torch.randperm(len(held))[: self.capacity])
            held = held[kept.to(held.device)]
        self._held = held

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs (collective)."""
        return {} if self.items is None else {"items": self.items}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Undo ``state_dict``."""
        self._held, self._offered = state.get("items"), None
