"""Train FRD-UVAD on unlabelled snippet features, or first C2FPL's scorer (--stage c2fpl).

python frd_train.py --cfg_file cfgs/frd_toy.yaml --set frd.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import record

from datasets.features.dataset import FeatureSet
from datasets.features.labels import open_split
from datasets.features.loader import FeatureBatch, FeatureLoader, InOrder
from datasets.features.settings import require_configured
from datasets.features.snippet_scores import load_snippet_values
from engine.setup import StageSetup, start_stage, train_stage
from engine.snippets import auxiliary_scores
from engine.stage import LossTerms, StageTask
from evaluation.distributed import score_distributed
from evaluation.scores import error_statistics
from losses.frd import WEIGHTS, AnomalyBank
from losses.frd_step import FRDStep, scorer_loss
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from utils.errors import exit_on_user_error
from utils.transfer import send


class FeatureTask(StageTask):
    """What both stages share: batches of snippets, statistics of the scorer's output."""

    def __init__(self, setup: StageSetup, features: FeatureSet, model: nn.Module) -> None:
        config, settings = setup.config, setup.settings
        self.setup, self.features, self.settings = setup, features, settings
        self.model = model.to(setup.device)
        self.fingerprint = features.fingerprint
        self.loader = FeatureLoader(
            features,
            settings.batch_size,
            snippets=getattr(settings, "cross_clip", 1),
            seed=config.run.seed,
            **config.data.model_dump(include={"pool_mb", "block"}),
            as_stored=setup.device.type == "cuda",
            **setup.share,
        )

    def on_device(self, batch: FeatureBatch) -> Tensor:
        """(B, crops, K, D) float32; converted where it is computed with."""
        return send(batch.features, self.setup.device).float()

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """Statistics of the scores of all training snippets."""
        score = getattr(model, "scorer", model)
        items = InOrder(self.features, self.setup.config.eval.batch_size)
        scores = score_distributed(items, lambda each: {"score": score(self.on_device(each))[:, 0]})
        return {"statistics": error_statistics(scores)}


class FRDTask(FeatureTask):
    """FRD-UVAD's own stage."""

    def __init__(self, setup: StageSetup, features: FeatureSet) -> None:
        config, settings, device = setup.config, setup.settings, setup.device
        super().__init__(setup, features, FRD(**config.model.model_dump()))
        auxiliary, bank = settings.auxiliary, settings.bank
        scorer = config.stage_folder("c2fpl") / "last.pth"
        self.step = FRDStep(
            AnomalyBank(int(bank.beta * settings.batch_size)) if bank.enabled else None,
            bank.kind,
            bank.delta,
            {term: getattr(settings, key) for term, key in WEIGHTS.items()},
            auxiliary.threshold,
            auxiliary_scores(auxiliary, scorer, features, config.eval.batch_size, device),
        )
        self.memory = self.step.bank
        numbers = settings.model_dump(include={"lr", "betas", "weight_decay"})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **numbers, fused=True)

    def loss(self, model: nn.Module, batch: FeatureBatch) -> LossTerms:
        """Terms of ``losses.frd.frd_loss``."""
        return self.step(model, batch.rows, self.on_device(batch))


class C2FPLTask(FeatureTask):
    """C2FPL's scorer on its pseudo labels."""

    def __init__(self, setup: StageSetup, features: FeatureSet) -> None:
        settings, path = setup.settings, setup.config.pseudo_label_file
        super().__init__(setup, features, C2FPLScorer(features.feature_size, settings.dropout))
        self.labels = torch.from_numpy(load_snippet_values(path, features))
        numbers = settings.model_dump(include={"lr", "momentum", "weight_decay"})
        numbers["nesterov"] = settings.momentum > 0  # it is not defined without
        self.optimizer = torch.optim.SGD(self.model.parameters(), **numbers)

    def loss(self, model: nn.Module, batch: FeatureBatch) -> LossTerms:
        """Terms of ``losses.frd_step.scorer_loss``."""
        scores = model(self.on_device(batch))
        return scorer_loss(scores, send(self.labels[batch.rows], self.setup.device))


@exit_on_user_error
@record
def main(argv: Sequence[str] | None = None) -> None:
    """Train a stage and write ``runs/NAME/STAGE/last.pth``."""
    setup = start_stage(("frd", "c2fpl"), __doc__, argv, system="frd")
    data, extracted_with = setup.config.data, setup.config.pre_process.features
    require_configured(data.features("training"), extracted_with, data.frames_per_snippet)
    features, _ = open_split(data, "training")
    features.require_size(setup.config.model.feature_size)
    train_stage(setup, {"frd": FRDTask, "c2fpl": C2FPLTask}[setup.stage](setup, features))


if __name__ == "__main__":
    main()
