"""From a checkpoint's errors on test cubes to published results: what scoring scripts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.calibration import describe_score, expected
from utils.console import say
from utils.evaluation import Evaluation, Threshold, ablate, evaluate
from utils.gallery import Explain, Stills, choose_highlights, make_gallery
from utils.region_metrics import true_regions
from utils.report import curve_pictures, render_report
from utils.results import ablation_table, results_table, write_results
from utils.runtime import provenance
from utils.scored_cubes import ScoredCubes
from utils.scoring import Errors, ScoreRule, score_rules
from utils.smoothing import Smoothing


class CubeIndex(Protocol):
    """Where cubes are; ``datasets.cubes.CubeSet`` is one."""

    videos: Sequence[str]
    num_frames: Mapping[str, int]
    video_index: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray


def judge(
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
        regions: labelled regions, see ``utils.region_metrics.true_regions``, or ``None``.

    Raises:
        UserError: statistics, labels or regions that do not fit.
    """
    lengths = [cubes.num_frames[name] for name in cubes.videos]
    stage, epoch = checkpoint["stage"], checkpoint["epoch"]
    rules = score_rules(stage, checkpoint["statistics"], config.eval, str(path))
    smoothing = Smoothing.of(config.eval)
    which = "last epoch" if path.name == "last.pth" else "epoch"
    return evaluate(
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


def calibrated_threshold(
    checkpoint: Mapping[str, Any], rule: ScoreRule, smoothing: Smoothing, fps: float
) -> Threshold | None:
    """The checkpoint's own threshold, if it was calibrated for this very score."""
    table = checkpoint.get("calibration")
    if not table or (table["score"], table["smoothing"]) != describe_score(rule, smoothing):
        return None
    value = checkpoint["threshold"]
    rates = expected(table, value, fps).describe()
    return Threshold(value, "calibrated on normal training video", rates)


def publish(
    folder: Path,
    title: str,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    explain: Explain | None,
    stills: Stills,
    with_ablation: bool = False,
) -> None:
    """Print the tables, draw the report and write all result files.

    Args:
        folder: where to.
        title: heading of the report.
        facts: provenance, anything JSON can hold.
        explain, stills: see ``utils.gallery.make_gallery``.
        with_ablation: also tell what smoothing and min-max are worth.
    """
    say(results_table(evaluation))
    ablation = ablate(evaluation) if with_ablation else []
    if ablation:
        say(f"\n{ablation_table(evaluation, ablation)}")
    highlights = choose_highlights(evaluation)
    gallery = make_gallery(evaluation, highlights, explain, stills)
    pictures = curve_pictures(evaluation)
    report = render_report(evaluation, title, facts, highlights, gallery, pictures, ablation)
    write_results(folder, evaluation, facts, report, pictures, ablation)
    say(f"\nscores and metrics: {folder}\nreport: {folder / 'report.html'}")


def origin(
    path: Path, checkpoint: Mapping[str, Any], folder: Path, fingerprint: str
) -> dict[str, Any]:
    """Where results come from: a checkpoint and its training, test data, the code that judges.

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
