"""A checkpoint of FRD-UVAD or of C2FPL's scorer made ready to score videos and cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evaluation.calibration import Rate
from evaluation.evaluate import Threshold
from evaluation.frd import SCORE_RULE, alarm_threshold, unsmoothed
from evaluation.smoothing import Smoothing
from inference.frd.live import LiveSnippets, WithValues, scored_frames
from inference.frd.stream import SnippetStream, Values
from inference.live.scorer import ScoredFrame
from models.frd.frd import FRD
from models.frd.scorers import (
    read_frd_checkpoint,
    reconstructor_from_checkpoint,
    score_batch,
    scorer_from_checkpoint,
)
from pre_process.features.build import Backbone, build_backbone
from utils.config.load import SCORING_BLOCKS, scoring_config
from utils.errors import UserError
from utils.runtime import pick_device
from utils.threads.count import share_cores
from visualization.annotate import Annotator, ScoreScale

_BLOCKS = (*SCORING_BLOCKS, "alarms", "pre_process")


@dataclass(frozen=True)
class SnippetPredictor:
    """Everything that scores new video; the counterpart of ``inference.predictor.Predictor``.

    Attributes:
        path, checkpoint: where the model is from.
        config: its configuration with the overrides merged in.
        scorer: (B, crops, K, D) to (B, K); reconstructor: the whole model, where there is one.
        device: of the networks.
    """

    path: Path
    checkpoint: dict[str, Any]
    config: Any
    scorer: nn.Module
    reconstructor: FRD | None
    device: torch.device
    rule = SCORE_RULE

    @property
    def smoothing(self) -> Smoothing:
        """None, as published."""
        return unsmoothed(self.config.data.frames_per_snippet)

    def backbone(self) -> Backbone:
        """The feature extractor that the configuration names.

        Raises:
            UserError: no weights, or features of another size than the network reads.
        """
        config = self.config
        made = build_backbone(config.pre_process.features, config.data.frames_per_snippet)
        read = self.scorer.get_parameter("fc1.weight").shape[1]
        if made.feature_size != read:
            backend = config.pre_process.features.backend
            raise UserError(
                f"{self.path}: reads features of {read} values, but pre_process.features.backend "
                f"{backend} makes {made.feature_size}; name the backend that the training features "
                "were made with (--set pre_process.features.backend=... "
                "pre_process.features.weights=...)"
            )
        return made

    def values(self, features: np.ndarray) -> Values:
        """What one snippet (1, crops, D) is scored by; see ``models.frd.scorers.score_batch``.

        Raises:
            UserError: a crop that is not there, or a value that is not finite.
        """
        chosen = self.config.data.crops or list(range(features.shape[1]))
        if max(chosen) >= features.shape[1]:
            raise UserError(
                f"data.crops asks for {chosen}, but pre_process.features.crops makes "
                f"{features.shape[1]} (counted from 0)"
            )
        if not np.isfinite(features).all():
            raise UserError("a snippet has features that are not finite; check the weights")
        given = torch.from_numpy(features[:, chosen, None]).float().to(self.device)
        values = score_batch(self.scorer, self.reconstructor, given)
        return {name: float(each[0]) for name, each in values.items()}

    def threshold(self, spec: float | Rate | None, fps: float = 0.0) -> Threshold:
        """The alarm threshold.

        Args:
            spec: a value; ``None``: the configuration's or the checkpoint's own.
            fps: not needed, as there is no rate.

        Raises:
            UserError: a rate of false alarms, for which there is no normal video to count on.
        """
        if isinstance(spec, Rate):
            raise UserError(
                "FRD-UVAD is trained without normal video, so no rate of false alarms is known; "
                "pass --threshold VALUE, between 0 and 1"
            )
        if spec is not None:
            return Threshold(spec, "given on the command line")
        return alarm_threshold(self.config, self.checkpoint)

    def annotator(self, threshold: Threshold | None) -> Annotator:
        """Draws the frames of one video: calm is a score of 0, alarming the threshold."""
        value = threshold.value if threshold else None
        return Annotator(ScoreScale(0.0, 1.0 if value is None else value), value)

    def explain(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, Any]:
        """A snippet has no cubes whose expectation could be shown."""
        return {}

    def live_extractor(self) -> LiveSnippets:
        """Makes features of the frames of a camera and scores their snippets."""
        frames, stride = self.config.data.frames_per_snippet, self.config.eval.live_stride
        return LiveSnippets(SnippetStream(self.backbone(), self.values, frames, stride))

    def live_scorer(self) -> Callable[[Sequence[WithValues]], list[ScoredFrame]]:
        """Snippets are scored with their features; this gives their frames their form."""
        return scored_frames

    def warm_up(self) -> None:
        """Score noise once: first batches load and choose kernels, which takes seconds."""
        frames, random = self.config.data.frames_per_snippet, np.random.default_rng(0)
        stream: SnippetStream[int] = SnippetStream(self.backbone(), self.values, frames)
        for number in range(frames):
            stream.push(number, random.integers(0, 256, (240, 320, 3), np.uint8))


def is_snippet_checkpoint(content: Any) -> bool:
    """Whether what ``load_tensors`` read is a checkpoint of this project's FRD-UVAD."""
    return isinstance(content, dict) and content.get("system") == "frd"


def load_snippet_predictor(
    path: Path,
    overrides: Sequence[str],
    backend: str,
    device: str | None,
    content: Any = None,
) -> SnippetPredictor:
    """Make a predictor of a checkpoint.

    Args:
        path: ``last.pth`` of a finished stage.
        overrides: ``key.sub=value`` strings for data, run, eval, alarms and pre_process.
        backend: of the network: ``auto`` or ``torch``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``None``: the configuration's.
        content: what ``load_tensors`` read from ``path``; ``None``: it is read here.

    Raises:
        UserError: training not finished, or faults in the overrides.
    """
    if backend not in ("auto", "torch"):
        raise UserError(f"--backend {backend}: FRD-UVAD scores with torch only; leave it out")
    checkpoint = read_frd_checkpoint(path, content)
    overrides = list(overrides)
    if device is not None:
        overrides += [f"run.device={device}", f"pre_process.features.device={device}"]
    tree: Mapping[str, Any] = checkpoint["config"]
    config = scoring_config(
        dict(tree), str(path), None, overrides, "frd", _BLOCKS, opens=("pre_process",)
    )
    share_cores(config.run.num_threads)
    where = pick_device(config.run.device)
    reconstructor = reconstructor_from_checkpoint(checkpoint, str(path))
    scorer = scorer_from_checkpoint(checkpoint, str(path)).to(where)
    if reconstructor is not None:
        reconstructor = reconstructor.to(where)
    return SnippetPredictor(path, checkpoint, config, scorer, reconstructor, where)
