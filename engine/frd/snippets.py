"""Scores of all snippets of a feature set, by a checkpoint or as auxiliary scores for training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.features.dataset import FeatureSet
from datasets.features.loader import InOrder
from datasets.features.snippet_scores import load_snippet_values
from engine.scoring.distributed import score_distributed
from losses.frd import threshold
from models.frd.scorers import (
    read_auxiliary,
    reconstructor_from_checkpoint,
    score_batch,
    scorer_from_checkpoint,
)
from utils.config.frd import AuxiliaryConfig
from utils.console import echo

logger = logging.getLogger(__name__)
ENOUGH = 0.01  # of the snippets confirmed; below it hardly any pseudo label is left


def score_snippets(
    checkpoint: Mapping[str, Any],
    source: str,
    features: FeatureSet,
    batch_size: int,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Score every snippet by itself with a checkpoint from ``read_frd_checkpoint``.

    Returns:
        As ``models.frd.scorers.score_batch``, each (N,) float64.

    Raises:
        UserError: features of another size than the scorer's, or values that are not finite.
    """
    scorer = scorer_from_checkpoint(checkpoint, source).to(device)
    features.require_size(int(scorer.get_parameter("fc1.weight").shape[1]))
    reconstructor = reconstructor_from_checkpoint(checkpoint, source)
    if reconstructor is not None:
        reconstructor = reconstructor.to(device)
    return score_distributed(
        InOrder(features, batch_size),
        lambda batch: score_batch(scorer, reconstructor, batch.features.to(device)),
        "scoring",
    )


def auxiliary_scores(
    auxiliary: AuxiliaryConfig,
    default_file: Path,
    features: FeatureSet,
    batch_size: int,
    device: torch.device,
) -> tuple[Tensor | None, float]:
    """Scores (N,) that confirm pseudo labels, and the score from which on they do.

    The scores are ``None`` where there is no auxiliary scorer.

    The scorer is frozen and without dropout, so each snippet is scored once before training and not
    K times an epoch. Says how many snippets the scorer confirms, and warns when hardly any.

    Args:
        auxiliary: the block ``frd.auxiliary``.
        default_file: checkpoint of C2FPL's scorer where the block names none.

    Raises:
        UserError: missing or foreign file, or one for other features.
    """
    if auxiliary.kind == "none":
        return None, 1.0
    if auxiliary.kind == "scores":
        scores = torch.from_numpy(load_snippet_values(auxiliary.file, features))
    else:
        path = auxiliary.file or default_file
        values = score_snippets(read_auxiliary(path), str(path), features, batch_size, device)
        scores = torch.from_numpy(values["score"])
    limit = auxiliary.threshold
    if limit is None:
        limit = _limit(scores, auxiliary.kind)
    share = float((scores >= limit).float().mean())
    confirmed = f"{share:.2%} of the training snippets at {limit:.3g}"
    echo(f"auxiliary scorer ({auxiliary.kind}) confirms {confirmed}")
    if share < ENOUGH:
        logger.warning(
            "the auxiliary scorer reaches %g on %.2f %% of the snippets only, so nearly all pseudo "
            "labels are blanked; train it longer or lower frd.auxiliary.threshold",
            limit, 100 * share,
        )  # fmt: skip
    return scores, limit


def _limit(scores: Tensor, kind: str) -> float:
    """0.5 of C2FPL's scorer, whose loss is balanced; of others a deviation above their mean.

    FRD-UVAD's own scorer learns from few labels and may reach 0.5 nowhere.
    """
    return 0.5 if kind == "c2fpl" else min(float(threshold(scores, 1.0)), float(scores.max()))
