"""Train FRD-UVAD on unlabelled snippet features, or first C2FPL's scorer (--stage c2fpl).

python frd_train.py --cfg_file cfgs/frd_toy.yaml --set frd.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from datasets.features.dataset import FeatureSet
from datasets.features.loader import FeatureBatch, FeatureLoader, InOrder
from datasets.features.settings import require_configured
from datasets.features.snippet_scores import load_snippet_values
from engine.setup import StageSetup, start_stage, train_stage
from engine.snippets import auxiliary_scores
from engine.stage import LossTerms
from losses.frd import AnomalyBank
from losses.frd_step import FRDStep, scorer_loss
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from utils.errors import exit_on_user_error


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Train a stage and write ``runs/NAME/STAGE/last.pth``."""
    setup = start_stage(("frd", "c2fpl"), __doc__, argv, system="frd")
    data = setup.config.data
    path, extracted_with = data.features("training"), setup.config.pre_process.features
    require_configured(path, extracted_with, data.frames_per_snippet)
    features = FeatureSet.open(path, data.training_ranges, data.crops)
    features.require_size(setup.config.model.feature_size)
    {"frd": train_frd, "c2fpl": train_c2fpl}[setup.stage](setup, features)


def train_frd(setup: StageSetup, features: FeatureSet) -> None:
    """FRD-UVAD's own stage."""
    config, settings, device = setup.config, setup.settings, setup.device
    auxiliary, bank = settings.auxiliary, settings.bank
    model = FRD(**config.model.model_dump()).to(device)
    scorer = config.stage_folder("c2fpl") / "last.pth"
    table = auxiliary_scores(auxiliary, scorer, features, config.eval.batch_size, device)
    step = FRDStep(
        AnomalyBank(int(bank.beta * settings.batch_size)) if bank.enabled else None,
        bank.kind,
        bank.delta,
        (settings.lam_recon, settings.lam_bank, settings.lam_score),
        auxiliary.threshold,
        table,
    )

    def loss(network: nn.Module, batch: FeatureBatch) -> LossTerms:
        return step(network, batch.rows, batch.features.to(device, non_blocking=True))

    numbers = settings.model_dump(include={"lr", "betas", "weight_decay"})
    optimizer = torch.optim.AdamW(model.parameters(), **numbers, fused=True)
    train(setup, features, model, loss, optimizer, memory=step.bank)


def train_c2fpl(setup: StageSetup, features: FeatureSet) -> None:
    """C2FPL's scorer on its pseudo labels."""
    settings, device = setup.settings, setup.device
    labels = torch.from_numpy(load_snippet_values(setup.config.pseudo_label_file, features))
    model = C2FPLScorer(features.feature_size, settings.dropout).to(device)

    def loss(network: nn.Module, batch: FeatureBatch) -> LossTerms:
        scores = network(batch.features.to(device, non_blocking=True))
        return scorer_loss(scores, labels[batch.rows].to(device))

    numbers = settings.model_dump(include={"lr", "momentum", "weight_decay"})
    nesterov = settings.momentum > 0  # it is not defined without
    optimizer = torch.optim.SGD(model.parameters(), **numbers, nesterov=nesterov)
    train(setup, features, model, loss, optimizer)


def train(
    setup: StageSetup,
    features: FeatureSet,
    model: nn.Module,
    loss: Any,
    optimizer: Any,
    **more: Any,
) -> None:
    """Hand a stage to the training loop that all stages share."""
    config, settings = setup.config, setup.settings
    loader = FeatureLoader(
        features,
        settings.batch_size,
        snippets=getattr(settings, "cross_clip", 1),
        seed=config.run.seed,
        pool_mb=config.data.pool_mb,
        block=config.data.block,
        **setup.share,
    )

    def score(network: nn.Module, batch: FeatureBatch) -> dict[str, Tensor]:
        scorer = getattr(network, "scorer", network)
        return {"score": scorer(batch.features.to(setup.device))[:, 0]}

    train_stage(
        setup,
        model,
        loader,
        loss,
        normal_data=InOrder(features, config.eval.batch_size),
        score=score,
        pictures=None,
        fingerprint=features.fingerprint,
        optimizer=optimizer,
        **more,
    )


if __name__ == "__main__":
    main()
