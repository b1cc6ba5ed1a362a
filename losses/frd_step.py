"""FRD-UVAD's training step as the training loop calls it: losses, and a bank kept between steps."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from losses.frd import AnomalyBank, bank_candidates, frd_loss, score_loss
from utils.distributed import gather_interleaved_rows
from utils.transfer import send


class FRDStep:
    """Loss terms of a batch; keeps the latent anomaly memory bank, the same on all processes.

    Args:
        bank: the bank; ``None``: switched off.
        kind, delta: which items the bank takes, see ``losses.frd.bank_candidates``.
        weights: of the terms ``recon``, ``bank`` and ``score``.
        aux_threshold: an auxiliary score from here on confirms a pseudo label.
        table: (N,) auxiliary scores of all snippets; ``None``: no auxiliary scorer.
    """

    def __init__(
        self,
        bank: AnomalyBank | None,
        kind: str,
        delta: float,
        weights: Mapping[str, float],
        aux_threshold: float,
        table: Tensor | None = None,
    ) -> None:
        self.bank = bank
        self.kind, self.delta = kind, delta
        self.weights, self.aux_threshold, self.table = weights, aux_threshold, table

    def __call__(self, network: nn.Module, rows: Tensor, items: Tensor) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            network: ``models.frd.frd.FRD``, possibly wrapped.
            rows: (B, K) int64, which snippets these are.
            items: (B, crops, K, D) float32 on the network's device.

        Returns:
            Scalar terms ``recon``, ``bank``, ``score``, ``total``, and the shares of snippets that
            are pseudo-labelled by their error and after the auxiliary scorer.
        """
        joined = items if self.bank is None else self.bank.append_to(items)
        held = len(joined) - len(items)
        output = network(joined, num_bank=held)
        auxiliary = None if self.table is None else send(self.table[rows], items.device)
        terms, details = frd_loss(output, joined, auxiliary, held, self.weights, self.aux_threshold)
        if self.bank is not None:
            chosen = bank_candidates(details["scores"], details["labels"], self.delta, self.kind)
            self.bank.offer(items, chosen)
        shares = {f"share_{key}": details[key].mean() for key in ("error_labels", "labels")}
        return terms | shares


def scorer_loss(
    scores: Tensor, labels: Tensor, positives: float | None = None
) -> dict[str, Tensor]:
    """C2FPL's loss (arXiv 2310.17650 §3.4): binary cross-entropy with the pseudo labels.

    Args:
        scores: (B, K) in (0, 1), of this process; those of all count.
        labels: (B, K) of 0 and 1.
        positives: share of labels that are 1, to balance the loss; see ``losses.frd.score_loss``.

    Returns:
        ``total``, and ``share_scores``, the share of snippets that score 0.5 or more.
    """
    scores, labels = gather_interleaved_rows(scores), gather_interleaved_rows(labels)
    total = score_loss(scores, labels, positives)
    return {"total": total, "share_scores": (scores >= 0.5).float().mean()}
