"""Scores of the auxiliary scorer for all training snippets, which confirm pseudo labels.

The scorer is frozen and free of dropout, so each snippet is scored once before training and not K
times an epoch.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from datasets.feature_loader import InOrder
from datasets.features import FeatureSet
from datasets.snippet_scores import load_snippet_values
from models.frd_scorers import read_auxiliary
from utils.config_frd import AuxiliaryConfig
from utils.console import say
from utils.scoring import collect_errors

logger = logging.getLogger(__name__)
ENOUGH = 0.01  # of the snippets confirmed; below it hardly any pseudo label is left


def score_snippets(
    scorer: nn.Module, features: FeatureSet, batch_size: int, device: torch.device
) -> Tensor:
    """Score every snippet by itself: (N,) float32 on the CPU.

    Raises:
        UserError: features of another size than the scorer's, or values that are not finite.
    """
    features.require_size(scorer.get_submodule("fc1").in_features)
    scorer = scorer.to(device).eval()

    @torch.inference_mode()
    def score(batch) -> dict[str, Tensor]:
        return {"score": scorer(batch.features.to(device))[:, 0].float()}

    batches = tqdm(InOrder(features, batch_size), desc="scoring", unit="batch", mininterval=1.0)
    return torch.from_numpy(collect_errors(batches, score)["score"]).float()


def auxiliary_scores(
    auxiliary: AuxiliaryConfig,
    default_file: Path,
    features: FeatureSet,
    batch_size: int,
    device: torch.device,
) -> Tensor | None:
    """Scores (N,) that confirm pseudo labels; ``None`` where no auxiliary scorer is wanted.

    Says how many snippets the scorer confirms, and warns when hardly any.

    Args:
        auxiliary: the block ``frd.auxiliary``.
        default_file: checkpoint of C2FPL's scorer where the block names none.

    Raises:
        UserError: missing or foreign file, or one for other features.
    """
    if auxiliary.kind == "none":
        return None
    if auxiliary.kind == "scores":
        scores = torch.from_numpy(load_snippet_values(auxiliary.file, features))
    else:
        scorer = read_auxiliary(auxiliary.file or default_file)
        scores = score_snippets(scorer, features, batch_size, device)
    share = float((scores >= auxiliary.threshold).float().mean())
    say(f"auxiliary scorer ({auxiliary.kind}) confirms {share:.2%} of the training snippets")
    if share < ENOUGH:
        logger.warning(
            "the auxiliary scorer reaches %g on %.2f %% of the snippets only, so nearly all pseudo "
            "labels are blanked; train it longer or lower frd.auxiliary.threshold",
            auxiliary.threshold, 100 * share,
        )  # fmt: skip
    return scores
