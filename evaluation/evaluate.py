"""Evaluate the scores of test videos: branches, metrics, protocol, ablation.

This module knows errors, frames and labels, and neither models nor files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evaluation import metrics
from evaluation.region_metrics import Regions, region_metrics
from evaluation.scored_cubes import ScoredCubes, Videos, frame_numbers, match_labels
from evaluation.scores import ScoreRule, frame_scores
from evaluation.smoothing import Smoothing
from utils.errors import UserError


@dataclass(frozen=True)
class Branch:
    """One score and its metrics: per cube, per frame before and after smoothing."""

    rule: ScoreRule
    cube_scores: np.ndarray
    raw: Videos
    scores: Videos
    metrics: dict[str, float]


@dataclass(frozen=True)
class Threshold:
    """An alarm threshold on smoothed frame scores, where it comes from, what to expect of it."""

    value: float
    source: str
    expected: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All that is known about a checkpoint on some videos; ``labels`` are trimmed like scores."""

    cubes: ScoredCubes
    smoothing: Smoothing
    branches: dict[str, Branch]
    labels: Videos | None
    protocol: dict[str, str]
    threshold: Threshold | None
    alarms: dict[str, float]
    best_on_test: bool = False
    raised: Sequence[Mapping[str, Any]] = ()  # alarms, where videos are watched and not measured
    alarm_rate: str = ""  # of the scored video, in words
    verdict: str = ""  # what a report of watched videos begins with

    @property
    def primary(self) -> Branch:
        """The branch that is the checkpoint's main score."""
        return next(iter(self.branches.values()))

    @property
    def protocol_line(self) -> str:
        """What belongs beside every number."""
        return "; ".join(f"{key}: {value}" for key, value in self.protocol.items())


def evaluate(
    cubes: ScoredCubes,
    rules: Mapping[str, ScoreRule],
    smoothing: Smoothing,
    labels: Mapping[str, np.ndarray] | None,
    selection: str,
    fps: float,
    regions: Regions | None = None,
    threshold: Threshold | None = None,
) -> Evaluation:
    """Score videos by each rule and, where there are labels, measure the scores.

    Args:
        cubes: the cubes of all test videos.
        rules: the scores to report, the main one first.
        smoothing: what happens to the scores of each video.
        labels: video -> (num_frames,) of 0 and 1; ``None``: scores only.
        selection: which checkpoint this is and why, in words.
        fps: frames per second of the videos.
        regions: labelled regions, their frames numbered over all videos (``frame_numbers``).
        threshold: for alarms; ``None``: the one of the best F1 is taken instead, and marked.

    Raises:
        UserError: labels that do not fit the videos, or no frame left after trimming.
    """
    if not any(length > smoothing.trim for length in cubes.num_frames):
        raise UserError(
            f"no video is longer than the {smoothing.trim} frames that eval.trim drops; lower it"
        )
    truth = None if labels is None else match_labels(cubes, labels)
    trimmed = None if truth is None else [video[smoothing.trim :] for video in truth]
    branches = {
        name: _branch(cubes, rule, smoothing, trimmed, regions) for name, rule in rules.items()
    }
    primary = next(iter(branches.values()))
    chosen = threshold or _best_f1_threshold(primary)
    return Evaluation(
        cubes=cubes,
        smoothing=smoothing,
        branches=branches,
        labels=trimmed,
        protocol=_protocol(primary, smoothing, trimmed, selection),
        threshold=chosen,
        alarms=_alarms(primary.scores, trimmed, chosen, fps),
    )


def measure(scores: Videos, labels: Videos) -> dict[str, float]:
    """Frame-level metrics of smoothed scores; undefined ones are NaN."""
    joined_scores, joined_labels = np.concatenate(scores), np.concatenate(labels)
    macro = metrics.macro_auc(scores, labels)
    low, high = metrics.bootstrap_micro_auc(scores, labels)
    f1 = metrics.best_f1(joined_scores, joined_labels)
    return {
        "auc_micro": metrics.micro_auc(scores, labels),
        "auc_micro_low": low,
        "auc_micro_high": high,
        "auc_abnormal_videos": metrics.auc(*metrics.abnormal_videos(scores, labels)),
        "auc_macro": macro.value,
        "auc_macro_videos": macro.num_videos,
        "average_precision": metrics.average_precision(joined_scores, joined_labels),
        "equal_error_rate": metrics.equal_error_rate(joined_scores, joined_labels),
        "best_f1": f1.value,
        "best_f1_threshold": f1.threshold,
    }


def ablate(evaluation: Evaluation) -> list[dict[str, str | float]]:
    """Micro AUC of every branch under each smoothing and normalisation.

    Returns:
        Rows with ``smoothing``, ``normalisation`` and one number a branch; empty without labels.
    """
    if evaluation.labels is None:
        return []
    rows: list[dict[str, str | float]] = []
    size = evaluation.smoothing.size if evaluation.smoothing.size > 1 else 17
    for kind in ("none", "median", "causal"):
        for min_max in (False, True):
            way = replace(evaluation.smoothing, kind=kind, size=size, min_max=min_max)
            row: dict[str, str | float] = {
                "smoothing": way.describe(),
                "normalisation": "min-max of each video" if min_max else "training statistics",
            }
            for name, branch in evaluation.branches.items():
                scores = [way(video) for video in branch.raw]
                row[name] = metrics.micro_auc(scores, evaluation.labels)
            rows.append(row)
    return rows


def _branch(
    cubes: ScoredCubes,
    rule: ScoreRule,
    smoothing: Smoothing,
    labels: Videos | None,
    regions: Regions | None,
) -> Branch:
    cube_scores = rule(cubes.errors)
    raw = frame_scores(
        cube_scores, cubes.video_index, cubes.frames, cubes.num_frames, rule.zero_error_score
    )
    scores = [smoothing(video) for video in raw]
    numbers = {} if labels is None else measure(scores, labels)
    if regions is not None and cubes.boxes is not None:
        frame = frame_numbers(cubes.num_frames, cubes.video_index, cubes.frames)
        detected = Regions(frame, cubes.boxes, cube_scores)
        region = region_metrics(detected, regions, int(np.sum(cubes.num_frames)))
        numbers |= {"rbdc": region.rbdc, "tbdc": region.tbdc}
    return Branch(rule, cube_scores, raw, scores, numbers)


def _best_f1_threshold(branch: Branch) -> Threshold | None:
    value = branch.metrics.get("best_f1_threshold", math.nan)
    return None if math.isnan(value) else Threshold(value, "best F1, chosen with the test labels")


def _alarms(
    scores: Videos, labels: Videos | None, threshold: Threshold | None, fps: float
) -> dict[str, float]:
    """What the threshold brings; empty without labels or threshold."""
    if labels is None or threshold is None:
        return {}
    wrong = metrics.false_alarms(scores, labels, threshold.value, fps)
    right = metrics.detection_delays(scores, labels, threshold.value, fps)
    everywhere = np.concatenate(scores), np.concatenate(labels)
    in_abnormal = metrics.abnormal_videos(scores, labels)
    return {
        "false_alarm_rate": metrics.false_alarm_rate(*everywhere, threshold.value),
        "false_alarm_rate_abnormal_videos": metrics.false_alarm_rate(*in_abnormal, threshold.value),
        "false_alarms": wrong.count,
        "false_alarms_per_hour": wrong.per_hour,
        "normal_seconds": wrong.seconds,
        "false_frames_per_thousand": wrong.frames_per_thousand,
        "events": right.num_events,
        "events_found": right.num_detected,
        "mean_delay_seconds": right.mean_delay,
        "median_delay_seconds": right.median_delay,
    }


def with_protocol(evaluation: Evaluation, **facts: str) -> Evaluation:
    """The same evaluation with more said beside its numbers."""
    return replace(evaluation, protocol=evaluation.protocol | facts)


def _protocol(
    branch: Branch, smoothing: Smoothing, labels: Videos | None, selection: str
) -> dict[str, str]:
    scores = branch.scores
    num_frames = sum(map(len, scores))
    frames = f"{num_frames}"
    if labels is not None:
        frames += f" ({int(sum(video.sum() for video in labels))} abnormal)"
    return {
        "checkpoint": selection,
        "score": branch.rule.describe(),
        "normalisation": branch.rule.normalisation,
        "smoothing": smoothing.describe(),
        "trimming": f"first {smoothing.trim} frames of each video dropped",
        "videos": f"{sum(len(video) > 0 for video in scores)}",
        "frames": frames,
    }
