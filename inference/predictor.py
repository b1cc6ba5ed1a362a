"""A checkpoint made ready to score videos: model, extractor, score rule, threshold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.scoring.build import checkpoint_model, configured_scorer
from engine.scoring.explain import explain_cubes
from engine.scoring.network import CubeScorer, random_cubes
from evaluation.calibration import Rate, expected, require_same_score, threshold_for
from evaluation.checkpoint import calibrated_threshold
from evaluation.evaluate import Threshold
from evaluation.scores import STAGES, ScoreRule, score_rules
from evaluation.smoothing import Smoothing
from inference.live.scorer import LiveExtractor, LiveScorer
from pre_process.cubes.extractor import CubeExtractor, build_extractor
from pre_process.detectors.zones import Zones
from utils.checkpoint import load_finished
from utils.config.load import OVERRIDES, scoring_config
from utils.errors import UserError
from utils.runtime import pick_device
from utils.threads.count import share_cores
from visualization.annotate import Annotator, ScoreScale
from visualization.zone_overlay import ZoneOverlay

logger = logging.getLogger(__name__)

_BLOCKS = (*OVERRIDES, "alarms", "pre_process")


@dataclass(frozen=True)
class Predictor:
    """Everything that scores new video.

    Attributes:
        path, checkpoint: where the model is from.
        config: its configuration with the overrides merged in.
        model: the network, in evaluation mode, if there is one; scorer: errors of cubes by it.
        rule, smoothing: from errors to the score of a frame.
        device: of the networks.
    """

    path: Path
    checkpoint: dict[str, Any]
    config: Any
    model: nn.Module | None
    scorer: CubeScorer
    rule: ScoreRule
    smoothing: Smoothing
    device: torch.device

    def explain(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Any]:
        """What was expected of cubes; see ``engine.scoring.explain``."""
        return explain_cubes(self.model, self.scorer, appearance, motion, self.device)

    def extractor(self, batch_size: int = 1) -> CubeExtractor:
        """A new cube extractor for videos that belong to no data set."""
        return build_extractor(self.config.pre_process, batch_size=batch_size)

    def live_scorer(self) -> LiveScorer:
        """Scores the frames of a camera with their cubes."""
        return LiveScorer(self.scorer, self.rule, self.smoothing)

    def live_extractor(self) -> LiveExtractor:
        """Extracts the cubes of the frames of a camera."""
        return LiveExtractor(self.extractor())

    def warm_up(self) -> None:
        """Score noise once: the first batches load and choose kernels, which takes seconds."""
        for count in (1, 8):
            self.scorer(*random_cubes(count, seed=0))

    def threshold(self, spec: float | Rate | None, fps: float) -> Threshold | None:
        """The alarm threshold.

        Args:
            spec: a value, a rate of false alarms, or ``None`` for the checkpoint's own.
            fps: frames per second of the video to be watched.

        Returns:
            ``None`` when nothing is given and the checkpoint has none for this score.

        Raises:
            UserError: a rate is given, but the checkpoint was not calibrated for this score.
        """
        own = calibrated_threshold(self.checkpoint, self.rule, self.smoothing, fps)
        if spec is None:
            return own
        table: Any = self.checkpoint.get("calibration")
        if not isinstance(spec, Rate):
            rates = expected(table, spec, fps).describe() if own else ""
            return Threshold(spec, "given on the command line", rates)
        require_same_score(table, self.rule, self.smoothing, str(self.path))
        value = threshold_for(table, spec, fps)
        source = f"calibrated on normal video for {spec.value:g} {spec.unit.replace('_', ' ')}"
        return Threshold(value, source, expected(table, value, fps).describe())

    def annotator(self, threshold: Threshold | None) -> Annotator:
        """Draws the frames of one video, with the zones of the configuration.

        Calm is a cube without error, alarming the threshold or the worst normal cube.
        """
        statistics = self.checkpoint["statistics"]
        worst = {term.error: statistics[term.error]["quantiles"][-1] for term in self.rule.terms}
        alarming = threshold.value if threshold else float(self.rule(worst))
        scale, zones = ScoreScale(self.rule.zero_error_score, alarming), self._zones()
        return Annotator(scale, threshold.value if threshold else None, zones=zones)

    def _zones(self) -> ZoneOverlay | None:
        zones = Zones.of(self.config.pre_process)
        return ZoneOverlay(zones.outlines) if zones else None


def load_predictor(
    path: Path,
    overrides: Sequence[str],
    backend: str,
    device: str | None,
    content: Any = None,
) -> Predictor:
    """Make a predictor of a checkpoint.

    Args:
        path: a stage's finished checkpoint.
        overrides: ``key.sub=value`` strings for data, run, eval and pre_process.
        backend: ``auto``, ``openvino``, ``torch`` or ``onnx``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``None``: the configuration's.
        content: what ``load_tensors`` read from ``path``; ``None``: it is read here.

    Raises:
        UserError: not such a checkpoint, faults in the overrides, or boxes or flow that exist for
            the training videos only.
    """
    checkpoint = load_finished(path, stages=STAGES, content=content)
    overrides = list(overrides)
    if device is not None:
        overrides += [f"run.device={device}", f"pre_process.device={device}"]
    config = scoring_config(
        checkpoint["config"], str(path), None, overrides, blocks=_BLOCKS, opens=("pre_process",)
    )
    _require_new_video(path, config.pre_process)
    _compare(checkpoint["config"]["pre_process"], config.pre_process.model_dump(mode="json"))
    share_cores(config.run.num_threads)
    where = pick_device(config.run.device)
    statistics = checkpoint["statistics"]
    rules = score_rules(checkpoint["stage"], statistics, config.eval, str(path))
    model = checkpoint_model(checkpoint, path, where)
    return Predictor(
        path=path,
        checkpoint=checkpoint,
        config=config,
        model=model,
        scorer=configured_scorer(checkpoint, path, where, config, backend, model),
        rule=next(iter(rules.values())),
        smoothing=Smoothing.of(config.eval),
        device=where,
    )


def _require_new_video(path: Path, pre_process: Any) -> None:
    remedies = {"boxes": "motion", "flow": "dis"}
    for block, remedy in remedies.items():
        if getattr(pre_process, block).backend == "file":
            raise UserError(
                f"{path}: was trained with pre_process.{block}.backend 'file', which has nothing "
                f"for a new video; pass --set pre_process.{block}.backend={remedy} (or another one "
                "that is like what the file was made with)"
            )


def _compare(trained: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [
        name for name in ("boxes", "flow") if _comparable(trained[name]) != _comparable(now[name])
    ]
    if changed:
        logger.warning(
            "%s made in another way than in training: score statistics and threshold may not fit",
            " and ".join(changed),
        )


def _comparable(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without what has no effect, and with what older checkpoints do not know."""
    later = {"moving_regions": {"box_reach": 0.0} | block.get("moving_regions", {})}
    return {**block, **later, "batch_size": None}
