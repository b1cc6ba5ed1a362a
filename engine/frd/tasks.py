"""The stages of FRD-UVAD and of C2FPL's scorer: network, batches, loss, diagnosis."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.features.dataset import FeatureSet
from datasets.features.loader import FeatureBatch, FeatureLoader, InOrder
from datasets.features.snippet_scores import load_snippet_values
from datasets.features.statistics import feature_statistics
from datasets.training_video import describe_training_video
from engine.frd.diagnosis import describe, diagnose, remedies
from engine.frd.snippets import auxiliary_scores
from engine.scoring.distributed import score_distributed
from engine.setup import StageSetup
from engine.stage import LossTerms, StageTask
from evaluation.scores import error_statistics
from losses.frd import WEIGHTS, AnomalyBank, threshold
from losses.frd_step import FRDStep, scorer_loss
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from models.frd.scorers import score_batch
from utils.console import echo
from utils.transfer import send

logger = logging.getLogger(__name__)
DIAGNOSED_BATCHES = 32  # of a larger set, spread evenly
_CROP = "crop "


class FeatureTask(StageTask):
    """What both stages share: batches of snippets, statistics and diagnosis of the outputs."""

    def __init__(self, setup: StageSetup, features: FeatureSet, model: nn.Module) -> None:
        config, settings = setup.config, setup.settings
        self.setup, self.features, self.settings = setup, features, settings
        self.model = model.to(setup.device)
        self.statistics = feature_statistics(features)
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
        """Statistics of the scores of all training snippets, the diagnosis and the videos' rate."""
        scorer = getattr(model, "scorer", model)

        def score(batch: FeatureBatch) -> dict[str, Tensor]:
            return {"score": scorer(self.on_device(batch))[:, 0]}

        in_order = InOrder(self.features, self.setup.config.eval.batch_size)
        statistics = error_statistics(score_distributed(in_order, score))
        diagnosis = self.diagnose(model, trained=True)
        described = {"statistics": statistics, "diagnosis": diagnosis}
        video = describe_training_video(self.setup.config)
        if video is not None:  # backbones make frames of any size small, so the rate alone counts
            described["video"] = video | {"width": 0, "height": 0}
        return described

    def diagnose(self, model: nn.Module, trained: bool) -> dict[str, Any]:
        """Describe what needs no labels, and what is off (collective).

        Args:
            model: the stage's, in any mode.
            trained: whether training is over.

        Returns:
            As ``engine.frd.diagnosis.diagnose``.
        """
        was_training = model.training
        batches = _Spread(InOrder(self.features, self.setup.config.eval.batch_size))
        values = score_distributed(batches, self._values_of(model.eval()))
        model.train(was_training)
        rows = values["row"].astype(int)
        videos = np.searchsorted(self.features.starts, rows, side="right") - 1
        diagnosis = diagnose(
            self.statistics.rms,
            getattr(model, "gain", None),
            values.get("reconstruction", values["score"]),
            values["feature_norm"],
            self.pseudo_labels(values, rows),
            [self.features.names[video] for video in videos],
            np.stack([values[name] for name in values if name.startswith(_CROP)], axis=1),
        )
        self._report(diagnosis, trained)
        return diagnosis

    def pseudo_labels(self, values: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Pseudo labels (n,) of the snippets ``rows``, decided by ``values``."""
        raise NotImplementedError

    def _values_of(self, model: nn.Module) -> Any:
        scorer = getattr(model, "scorer", model)
        reconstructor = model if isinstance(model, FRD) else None

        def values_of(batch: FeatureBatch) -> dict[str, Tensor]:
            features = self.on_device(batch)
            crops = features.split(1, dim=1)
            with torch.inference_mode():
                each = {f"{_CROP}{n}": scorer(crop)[:, 0] for n, crop in enumerate(crops)}
            values = score_batch(scorer, reconstructor, features)
            return values | each | {"row": batch.rows[:, 0]}

        return values_of

    def _report(self, diagnosis: Mapping[str, Any], trained: bool) -> None:
        settings, stage = self.settings, self.setup.stage
        steps = settings.num_epochs * len(self.loader)
        when = "after" if trained else "before"
        for name, text in describe(diagnosis, steps, stage).items():
            echo(f"{stage}, {when} training: {name}: {text}")
        for remedy in remedies(diagnosis, steps, settings.lr, trained, stage):
            logger.warning("%s", remedy)


class FRDTask(FeatureTask):
    """FRD-UVAD's own stage."""

    def __init__(self, setup: StageSetup, features: FeatureSet) -> None:
        config, settings, device = setup.config, setup.settings, setup.device
        model = FRD(**config.model.model_dump(exclude={"feature_scale"}))
        super().__init__(setup, features, model)
        if config.model.feature_scale == "rms":
            model.set_scale(self.statistics.rms)
        auxiliary, bank = settings.auxiliary, settings.bank
        scorer = config.stage_folder("c2fpl") / "last.pth"
        table, limit = auxiliary_scores(auxiliary, scorer, features, config.eval.batch_size, device)
        self.step = FRDStep(
            AnomalyBank(int(bank.beta * settings.batch_size)) if bank.enabled else None,
            bank.kind,
            bank.delta,
            {term: getattr(settings, key) for term, key in WEIGHTS.items()},
            limit,
            table,
        )
        self.memory = self.step.bank
        numbers = settings.model_dump(include={"lr", "betas", "weight_decay"})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **numbers, fused=True)

    def loss(self, model: nn.Module, batch: FeatureBatch) -> LossTerms:
        """Terms of ``losses.frd.frd_loss``."""
        return self.step(model, batch.rows, self.on_device(batch))

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """As ``FeatureTask``, and the features' scale, which is no part of the state dict."""
        return super().describe_normal(model) | {"feature_scale": float(model.get_buffer("scale"))}

    def pseudo_labels(self, values: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Errors over their mean plus a deviation, confirmed by the auxiliary scorer."""
        error = torch.from_numpy(values["reconstruction"])
        labels = error >= threshold(error, 1.0)
        if self.step.table is not None:
            labels &= self.step.table[torch.from_numpy(rows)] >= self.step.aux_threshold
        return labels.numpy()


class C2FPLTask(FeatureTask):
    """C2FPL's scorer on its pseudo labels."""

    def __init__(self, setup: StageSetup, features: FeatureSet) -> None:
        settings = setup.settings
        model = C2FPLScorer(features.feature_size, settings.dropout)
        super().__init__(setup, features, model)
        if settings.centred:
            model.mean.copy_(torch.from_numpy(self.statistics.mean))
        labels = load_snippet_values(setup.config.pseudo_label_file, features)
        self.labels = torch.from_numpy(labels)
        self.positives = float(self.labels.mean()) if settings.balanced else None
        numbers = settings.model_dump(include={"lr", "momentum", "weight_decay"})
        nesterov = settings.momentum > 0  # it is not defined without
        self.optimizer = torch.optim.SGD(self.model.parameters(), **numbers, nesterov=nesterov)

    def loss(self, model: nn.Module, batch: FeatureBatch) -> LossTerms:
        """Terms of ``losses.frd_step.scorer_loss``."""
        labels = send(self.labels[batch.rows], self.setup.device)
        return scorer_loss(model(self.on_device(batch)), labels, self.positives)

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """As ``FeatureTask``, and the mean feature, which is no part of the state dict."""
        centred = self.settings.centred
        mean = {"feature_mean": model.get_buffer("mean").cpu()} if centred else {}
        return super().describe_normal(model) | mean

    def pseudo_labels(self, values: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Those of the file."""
        return self.labels.numpy()[rows]


class _Spread:
    """At most ``DIAGNOSED_BATCHES`` of a set's batches, spread evenly over it."""

    def __init__(self, batches: InOrder) -> None:
        count = min(len(batches), DIAGNOSED_BATCHES)
        self.batches = batches
        self.places = np.linspace(0, len(batches) - 1, count).astype(int).tolist()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> FeatureBatch:
        return self.batches[self.places[number]]
