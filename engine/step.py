"""The gradient of one training step, over the items of all processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from engine.stage import LossTerms
from utils import distributed


def num_items(batch: Any) -> int:
    """Items in a batch: rows of the tensor that it is, or of its first field."""
    return len(batch) if isinstance(batch, Tensor) else len(batch[0])


def back_propagate(terms: LossTerms, items: int, parameters: Iterable[nn.Parameter]) -> LossTerms:
    """Set the gradients of a step that all processes share (collective).

    Terms are means over a process's own items, so each process counts by how many it has; the
    gradients become those of the mean over all items, however unevenly these were dealt. Terms
    that are alike on all processes stay what they are.

    Args:
        terms: of this process, with ``total``; whatever they are where it has no item.
        items: how many this process has.
        parameters: which get gradients; the same on all processes.

    Returns:
        The terms of the whole step, without gradient.
    """
    if distributed.count() == 1:
        terms["total"].backward()
        return {name: term.detach() for name, term in terms.items()}
    # The mean of no items is NaN, but the backward pass has collective parts and must run.
    (terms["total"] * items if items else terms["total"].nan_to_num() * 0).backward()
    gradients = [each.grad for each in parameters if each.grad is not None]
    values = torch.stack([term.detach().float() for term in terms.values()])
    weighted = values * items if items else torch.zeros_like(values)
    sums = torch.cat([weighted, weighted.new_tensor([items])])
    distributed.sum_in_place(sums, *gradients)
    torch._foreach_div_(gradients, sums[-1])
    return dict(zip(terms, sums[:-1] / sums[-1], strict=True))
