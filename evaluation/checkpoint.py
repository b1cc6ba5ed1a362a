"""From a checkpoint's errors on test cubes to published results: what scoring scripts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evaluation.calibration import describe_score, expected
from evaluation.evaluate import Evaluation, Threshold, evaluate, with_protocol
from evaluation.region_metrics import true_regions
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import Errors, ScoreRule, score_rules
from evaluation.smoothing import Smoothing
from utils.console import duration
from utils.runtime import provenance


class CubeIndex(Protocol):
    """Where cubes are; ``datasets.cubes.dataset.CubeSet`` is one."""

    @property
    def videos(self) -> Sequence[str]: ...

    @property
    def num_frames(self) -> Mapping[str, int]: ...

    @property
    def video_index(self) -> np.ndarray: ...

    @property
    def frames(self) -> np.ndarray: ...

    @property
    def boxes(self) -> np.ndarray | None: ...


def evaluate_checkpoint(
    errors: Errors,
    cubes: CubeIndex,
    path: Path,
    checkpoint: Mapping[str, Any],
    config: Any,
    labels: Mapping[str, np.ndarray] | None,
    regions: Iterable[Any] | None = None,
) -> Evaluation:
    """Evaluate a checkpoint by its errors on all cubes of some videos.

    Args:
        errors: of ``cubes``, each (n,).
        path: the checkpoint's.
        checkpoint: as loaded; its statistics normalise, and its threshold is taken where it was
            calibrated for the same score; ``selection``, where present, says which epoch it is.
        config: the configuration to score with.
        labels: video -> (num_frames,) of 0 and 1, or ``None``.
        regions: labelled regions, see ``evaluation.region_metrics.true_regions``, or ``None``.

    Raises:
        UserError: statistics, labels or regions that do not fit.
    """
    lengths = [cubes.num_frames[name] for name in cubes.videos]
    stage, epoch = checkpoint["stage"], checkpoint["epoch"]
    rules = score_rules(stage, checkpoint["statistics"], config.eval, str(path))
    smoothing = Smoothing.of(config.eval)
    which = "last epoch" if path.name == "last.pth" else "epoch"
    evaluation = evaluate(
        ScoredCubes(cubes.videos, lengths, cubes.video_index, cubes.frames, cubes.boxes, errors),
        rules,
        smoothing,
        labels,
        selection=checkpoint.get("selection") or f"{stage}, {which} {epoch} ({path.name})",
        fps=config.data.fps,
        regions=None if regions is None else true_regions(regions, cubes.videos, lengths),
        threshold=calibrated_threshold(
            checkpoint, next(iter(rules.values())), smoothing, config.data.fps
        ),
    )
    return with_protocol(evaluation, **_held_out(checkpoint["statistics"]))


def _held_out(statistics: Mapping[str, Any]) -> dict[str, str]:
    """What the statistics come from, where it is not the training video itself."""
    held = statistics.get("held_out")
    if not held:
        return {}
    length = duration(held["seconds"])
    return {"normal video": f"{length} held out from training ({held['videos']} parts)"}


def calibrated_threshold(
    checkpoint: Mapping[str, Any], rule: ScoreRule, smoothing: Smoothing, fps: float
) -> Threshold | None:
    """The checkpoint's own threshold, if it was calibrated for this very score."""
    table = checkpoint.get("calibration")
    if not table or (table["score"], table["smoothing"]) != describe_score(rule, smoothing):
        return None
    value = checkpoint["threshold"]
    rates = expected(table, value, fps).describe()
    kind = "held-out" if table.get("held_out") else "training"
    return Threshold(value, f"calibrated on normal {kind} video", rates)


def origin(
    path: Path, checkpoint: Mapping[str, Any], folder: Path, fingerprint: str
) -> dict[str, Any]:
    """Where results come from: a checkpoint and its training, test data, the evaluating code.

    Args:
        path: the checkpoint's.
        checkpoint: as loaded.
        folder: of the test data.
        fingerprint: of the test cubes.
    """
    return {
        "checkpoint": str(path),
        "stage": checkpoint["stage"],
        "epoch": checkpoint["epoch"],
        "step": checkpoint["step"],
        "seed": checkpoint["config"]["run"]["seed"],
        "normal cubes behind the statistics": checkpoint["statistics"]["num_cubes"],
        "trained with": dict(checkpoint["provenance"]),
        "test data": {"folder": str(folder), "fingerprint": fingerprint},
        "evaluated with": provenance(),
    }
