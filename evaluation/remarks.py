"""What a reader must know beside the numbers: inverted scores, metrics that are undefined."""

from __future__ import annotations

import math

import numpy as np

from evaluation.evaluate import Branch, Evaluation

INVERTED_BELOW = (
    0.4  # a micro AUC below it is no chance: abnormal frames score lower than normal ones
)
METRICS = {
    "auc_micro": "micro AUC",
    "auc_micro_low": "95 % interval",
    "auc_macro": "macro AUC",
    "average_precision": "AP",
    "equal_error_rate": "EER",
    "best_f1": "best F1",
    "rbdc": "RBDC",
    "tbdc": "TBDC",
}


def is_inverted(branch: Branch) -> bool:
    """Whether labels show that a branch scores abnormal frames lower than normal ones."""
    return branch.metrics.get("auc_micro", math.nan) < INVERTED_BELOW


def has_interval(evaluation: Evaluation) -> bool:
    """Whether there can be an interval: it says how much videos differ, so one video has none."""
    return len(evaluation.primary.scores) > 1


def remarks(evaluation: Evaluation) -> list[str]:
    """Sentences to stand beside the table; none without labels or where all is well."""
    if evaluation.labels is None:
        return []
    remarks = [
        f"{name}: micro AUC {100 * branch.metrics['auc_micro']:.2f} is below "
        f"{100 * INVERTED_BELOW:g}, so abnormal frames score lower than normal ones: its sign is "
        "probably inverted. Check "
        "that labels are 1 where abnormal and follow these videos in their order; if they do, "
        "this term is low on anomalies: negate it, or give it no weight in the score"
        for name, branch in evaluation.branches.items()
        if is_inverted(branch)
    ]
    return remarks + _undefined(evaluation)


def _undefined(evaluation: Evaluation) -> list[str]:
    values = evaluation.primary.metrics
    by_reason: dict[str, list[str]] = {}
    for key, name in METRICS.items():
        if key == "auc_micro_low" and not has_interval(evaluation):
            continue
        if math.isnan(values.get(key, 0.0)):
            by_reason.setdefault(_reason(evaluation, key), []).append(name)
    if math.isnan(evaluation.alarms.get("false_alarm_rate_abnormal_videos", 0.0)):
        reason = _reason(evaluation, "false_alarm_rate_abnormal_videos")
        by_reason.setdefault(reason, []).append("rates over videos with an anomaly")
    return [f"n/a (undefined): {', '.join(names)}: {why}" for why, names in by_reason.items()]


def _reason(evaluation: Evaluation, key: str) -> str:
    labels = np.concatenate(evaluation.labels or [np.empty(0)])
    if key in ("rbdc", "tbdc"):
        return "no region is labelled"
    if labels.all() or not labels.any():
        kind, other = ("abnormal", "normal") if labels.any() else ("normal", "abnormal")
        return f"all {len(labels)} test frames are {kind}; add videos with {other} frames"
    return "no test video has both normal and abnormal frames"
