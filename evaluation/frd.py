"""Evaluate snippet scores frame by frame, with the code that evaluates HF2-VAD's cubes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.checkpoint import origin
from evaluation.evaluate import Evaluation, Threshold, evaluate
from evaluation.scales import RAW
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import BASELINE, ScoreRule, Term
from evaluation.smoothing import Smoothing
from utils.config.frd import FRDConfig
from utils.errors import UserError
from utils.runtime import provenance

# What a snippet is scored by -> name in tables, the main one first.
BRANCHES = {"score": "scorer", "reconstruction": "reconstruction", "feature_norm": BASELINE}
SCORE_RULE = ScoreRule(BRANCHES["score"], (Term("score", 1.0, RAW),))
_DEVIATIONS = 1.0  # above the mean, as for the pseudo labels
_UNKNOWN = 0.5  # threshold of a published file, which says nothing of its training


class SnippetScores(NamedTuple):
    """``values``: named (N,) numbers of all snippets; ``lengths``: snippets of each video."""

    names: Sequence[str]
    lengths: Sequence[int]
    values: Mapping[str, np.ndarray]


def evaluate_snippets(
    scores: SnippetScores,
    labels: Mapping[str, np.ndarray] | None,
    path: Path,
    checkpoint: Mapping[str, Any],
    config: FRDConfig,
    num_frames: Sequence[int] | None = None,
) -> Evaluation:
    """Give every frame its snippet's score and measure it; no smoothing, as published.

    Args:
        scores: of all snippets, in the order of the videos.
        labels: video -> (num_frames,) of 0 and 1, or ``None``.
        path, checkpoint: what scored them, from ``read_frd_checkpoint``.
        config: for ``data.frames_per_snippet`` (that many frames get one score, those left over at
            a video's end the last one), ``data.fps`` and ``eval.threshold``.
        num_frames: of each video; ``None``: as labelled, without labels those of whole snippets.

    Raises:
        UserError: labels that do not fit.
    """
    each = config.data.frames_per_snippet
    num_frames = num_frames or [
        length * each if labels is None else len(labels[name])
        for name, length in zip(scores.names, scores.lengths, strict=True)
    ]
    rows = frame_rows(scores.lengths, num_frames, each)
    cubes = ScoredCubes(
        videos=scores.names,
        num_frames=num_frames,
        video_index=np.repeat(np.arange(len(num_frames)), num_frames),
        frames=np.concatenate([np.arange(count) for count in num_frames]),
        boxes=None,
        errors={name: values.astype(np.float64)[rows] for name, values in scores.values.items()},
    )
    rules = {
        title: ScoreRule(title, (Term(name, 1.0, RAW),))
        for name, title in BRANCHES.items()
        if name in scores.values
    }
    selection, threshold = (
        describe_checkpoint(path, checkpoint),
        alarm_threshold(config, checkpoint),
    )
    return evaluate(
        cubes, rules, unsmoothed(each), labels, selection, config.data.fps, threshold=threshold
    )


def unsmoothed(frames_per_snippet: int) -> Smoothing:
    """No smoothing, as published; so many frames are known to have one score."""
    return Smoothing(trim=0, kind="none", size=frames_per_snippet)


def alarm_threshold(config: FRDConfig, checkpoint: Mapping[str, Any]) -> Threshold:
    """``eval.threshold``, or a standard deviation above the training snippets' mean score."""
    if config.eval.threshold is not None:
        return Threshold(config.eval.threshold, "eval.threshold of the configuration")
    known = (checkpoint.get("statistics") or {}).get("score")
    if not known:
        return Threshold(_UNKNOWN, "the middle, as the checkpoint says nothing of its training")
    value = known["mean"] + _DEVIATIONS * known["std"]
    return Threshold(
        value, "one standard deviation above the unlabelled training video's mean score"
    )


def frame_rows(
    lengths: Sequence[int], num_frames: Sequence[int], frames_per_snippet: int
) -> np.ndarray:
    """Global snippet index of every frame, videos one after the other: (sum(num_frames),) int64."""
    parts, start = [], 0
    for length, count in zip(lengths, num_frames, strict=True):
        if count < 1:
            raise UserError("a test video has no frame; take it out of the features and labels")
        parts.append(start + np.minimum(np.arange(count) // frames_per_snippet, length - 1))
        start += length
    return np.concatenate(parts)


def describe_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> str:
    """Which checkpoint this is, in words."""
    which = "published"
    if checkpoint["config"] is not None:
        which = f"{'last ' if path.name == 'last.pth' else ''}epoch {checkpoint['epoch']}"
    return f"{checkpoint['stage']}, {which} ({path.name})"


def origin_of(path: Path, checkpoint: Mapping[str, Any], features: Any) -> dict[str, Any]:
    """Where results come from, as ``evaluation.checkpoint.origin``; published files say little."""
    if checkpoint["config"] is None:
        return {"checkpoint": str(path), "evaluated with": provenance()}
    return origin(path, checkpoint, features.path, features.fingerprint)
