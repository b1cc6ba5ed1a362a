"""Choose a checkpoint by the test labels, as many papers do, without hiding it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.scores import BASELINE
from utils.errors import UserError


def best_on_test(evaluations: Sequence[Evaluation]) -> tuple[int, Evaluation]:
    """Choose among checkpoints by the test labels, and say so everywhere.

    Args:
        evaluations: of all kept checkpoints, that of the last epoch at the end; its score is
            set beside the best.

    Returns:
        The place of the best, and its evaluation with every branch marked.

    Raises:
        UserError: there are no labels of both classes to choose by.
    """
    values = [each.primary.metrics.get("auc_micro", math.nan) for each in evaluations]
    if any(math.isnan(value) for value in values):
        raise UserError(
            "--select best-on-test chooses by the test labels, and there are none of both classes; "
            "add labels or use --select last"
        )
    place = int(np.argmax(values))
    return place, _mark(evaluations[place], evaluations[-1], len(evaluations))


def _mark(best: Evaluation, last: Evaluation, num_candidates: int) -> Evaluation:
    branches = {
        name if name == BASELINE else f"{name}, best on test": branch
        for name, branch in best.branches.items()
    }
    branches[f"{last.primary.rule.name}, last epoch"] = last.primary
    chosen = f"{best.protocol['checkpoint']}: best on test of {num_candidates} checkpoints"
    protocol = best.protocol | {"checkpoint": chosen}
    return replace(best, branches=branches, protocol=protocol, best_on_test=True)
