"""Alarm thresholds from the scores of normal video, for a stated rate of false alarms.

A stage ends with a table of its training videos' frame scores: how many frames and how many alarms
(unbroken runs of frames) lie at or above each threshold. Any rate can be asked of the table later.
Held-out video (``data.calibration_share``) tells what new normal video of the same kind would;
video that the model has learned from flatters it, and the rate on new video will be higher.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluation.metrics import per_hour, runs
from evaluation.scores import Errors, ScoreRule, frame_scores, score_rules
from evaluation.smoothing import Smoothing
from utils.console import duration, positive
from utils.errors import UserError

logger = logging.getLogger(__name__)

_ROWS = 256
_ENOUGH_HOURS = 1.0
_TAIL_SHARE = 0.05  # the highest scores, which tell how the rate falls beyond the last one

Unit = Literal["alarms_per_hour", "frames_per_thousand"]


@dataclass(frozen=True)
class Rate:
    """A rate of false alarms: ``value`` alarms per hour, or ``value`` frames in a thousand."""

    value: float
    unit: Unit

    @classmethod
    def per_hour(cls, text: str) -> Rate:
        """From the command line: alarms per hour."""
        return cls(positive(text), "alarms_per_hour")

    @classmethod
    def per_thousand(cls, text: str) -> Rate:
        """From the command line: frames in a thousand."""
        return cls(positive(text), "frames_per_thousand")


@dataclass(frozen=True)
class Expected:
    """What normal video says of a threshold.

    Attributes:
        alarms_per_hour, frames_per_thousand: the rates above the threshold.
        hours: length of that video.
        is_extrapolated: the threshold lies above all scores of that video, so the rates are the
            exponential continuation of their tail and were not observed.
        is_held_out: nothing was fitted on that video.
    """

    alarms_per_hour: float
    frames_per_thousand: float
    hours: float
    is_extrapolated: bool
    is_held_out: bool = False

    def describe(self) -> str:
        """In words."""
        how = "extrapolated from" if self.is_extrapolated else "observed in"
        kind = "normal training video, which flatter: expect more on new video"
        if self.is_held_out:
            kind = "normal video that nothing was fitted on"
        video = f"{duration(3600 * self.hours)} of {kind}{self._doubt()}"
        count = _rounded(self.frames_per_thousand)
        rates = f"{count} frame{'' if count == '1' else 's'} in a thousand ({how} {video})"
        if self._tells_a_rate:
            return f"{_rounded(self.alarms_per_hour)} false alarms per hour, {rates}"
        return rates

    @property
    def _tells_a_rate(self) -> bool:
        return not math.isnan(per_hour(0, 3600 * self.hours))

    def _doubt(self) -> str:
        """What so little video cannot tell."""
        if not self._tells_a_rate:
            return "; too little to know a rate per hour"
        if self.hours >= _ENOUGH_HOURS:
            return ""
        return f"; too little to know rates below {1 / self.hours:.0f} alarms per hour"


def _rounded(value: float) -> str:
    """Three digits, and never as a power of ten where it is large."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def calibrate(scores: Sequence[np.ndarray], rule: str, smoothing: str) -> dict[str, Any]:
    """Describe the frame scores of normal videos.

    Args:
        scores: smoothed scores, one (T,) array a video.
        rule, smoothing: what the scores are, in words, to be compared before they are used.

    Returns:
        Plain numbers and lists: falling ``thresholds``, and how many ``frames`` and ``alarms`` lie
        at or above each; ``num_frames``; and ``tail``.

    Raises:
        UserError: there is no frame.
    """
    joined = np.sort(np.concatenate(scores))[::-1]
    if not len(joined):
        raise UserError("no training video is longer than the frames that eval.trim drops")
    ranks = np.unique(np.rint(np.geomspace(1, len(joined), _ROWS)).astype(int))
    thresholds = np.unique(joined[ranks - 1])[::-1]
    frames = len(joined) - np.searchsorted(joined[::-1], thresholds, "left")
    alarms = [sum(len(runs(video >= limit)) for video in scores) for limit in thresholds]
    return {
        "score": rule,
        "smoothing": smoothing,
        "num_videos": len(scores),
        "num_frames": len(joined),
        "thresholds": thresholds.tolist(),
        "frames": frames.tolist(),
        "alarms": alarms,
        "tail": _tail(scores, joined),
    }


def calibrate_stage(
    stage: str, cubes: Any, settings: Any, errors: Errors, statistics: dict[str, Any]
) -> dict[str, Any]:
    """Calibrate a finished stage on normal cubes.

    Args:
        stage: its name.
        cubes: the normal cubes, for ``videos``, ``num_frames``, ``video_index``, ``frames``.
        settings: the configuration's ``eval`` block.
        errors: of all cubes, each (n,).
        statistics: of the errors.

    Returns:
        ``threshold`` and ``calibration``; nothing where the errors do not allow it, which a
        warning says.
    """
    smoothing, lengths = Smoothing.of(settings), [cubes.num_frames[v] for v in cubes.videos]
    try:
        rule = next(iter(score_rules(stage, statistics, settings, stage).values()))
        raw = frame_scores(
            rule(errors), cubes.video_index, cubes.frames, lengths, rule.zero_error_score
        )
        table = calibrate([smoothing(video) for video in raw], *describe_score(rule, smoothing))
    except UserError as error:  # the weights are trained: keep them
        logger.warning("no alarm threshold: %s", error)
        return {}
    table["held_out"] = "held_out" in statistics
    rate = Rate(settings.false_frames_per_thousand, "frames_per_thousand")
    return {"threshold": threshold_for(table, rate, fps=1.0), "calibration": table}


def describe_score(rule: ScoreRule, smoothing: Smoothing) -> tuple[str, str]:
    """The two texts by which a calibration is recognised."""
    return rule.describe(), f"{smoothing.describe()} after dropping {smoothing.trim}"


def threshold_for(calibration: Mapping[str, Any], rate: Rate, fps: float) -> float:
    """The lowest threshold from which upwards the rate is kept.

    Args:
        calibration: from ``calibrate``.
        rate: of false alarms, the highest allowed.
        fps: frames per second of the video to be watched.
    """
    if rate.unit == "alarms_per_hour":
        counts, limit = calibration["alarms"], rate.value * _hours(calibration, fps)
    else:
        counts, limit = calibration["frames"], rate.value * calibration["num_frames"] / 1000
    kept = np.flatnonzero(np.asarray(counts) > limit)
    allowed = int(kept[0]) if len(kept) else len(counts)
    if allowed:
        return float(calibration["thresholds"][allowed - 1])
    tail, key = calibration["tail"], "alarms" if rate.unit == "alarms_per_hour" else "frames"
    beyond = tail["start"] + tail[f"{key}_scale"] * math.log(max(tail[key] / limit, 1))
    return max(beyond, float(np.nextafter(calibration["thresholds"][0], np.inf)))


def expected(calibration: Mapping[str, Any], threshold: float, fps: float) -> Expected:
    """The rates to expect of a threshold; between rows of the table those of the lower one."""
    above = int(np.sum(np.asarray(calibration["thresholds"]) >= threshold))
    row = min(above, len(calibration["thresholds"]) - 1)
    exact = above and calibration["thresholds"][above - 1] == threshold
    tail = calibration["tail"]
    counts = {}
    for key in ("alarms", "frames"):
        counts[key] = calibration[key][above - 1 if exact else row]
        if not above:
            scale = max(tail[f"{key}_scale"], 1e-12)
            counts[key] = tail[key] * math.exp((tail["start"] - threshold) / scale)
    hours = _hours(calibration, fps)
    return Expected(
        counts["alarms"] / hours, 1000 * counts["frames"] / calibration["num_frames"],
        hours, not above, bool(calibration.get("held_out")),
    )  # fmt: skip


def require_same_score(
    calibration: Mapping[str, Any] | None, rule: ScoreRule, smoothing: Smoothing, source: str
) -> Mapping[str, Any]:
    """The calibration, if it is of this very score.

    Raises:
        UserError: none there, or made for other weights or smoothing.
    """
    remedy = "pass --threshold VALUE, or run the stage's training script again"
    if not calibration:
        raise UserError(f"{source}: no threshold was calibrated for it; {remedy}")
    current = describe_score(rule, smoothing)
    for name, expected in zip(("score", "smoothing"), current, strict=True):
        if calibration[name] != expected:
            raise UserError(
                f"{source}: thresholds were calibrated for {name} '{calibration[name]}', not "
                f"'{expected}'; {remedy} with the same eval settings"
            )
    return calibration


def _tail(scores: Sequence[np.ndarray], joined: np.ndarray) -> dict[str, float]:
    """Counts above a high score, and how far beyond it frames and peaks of alarms reach (mean)."""
    start = float(joined[min(len(joined) - 1, max(1, round(_TAIL_SHARE * len(joined))))])
    peaks = [
        float(video[first:stop].max()) for video in scores for first, stop in runs(video >= start)
    ]
    above = joined[joined >= start]
    return {
        "start": start,
        "frames": len(above),
        "frames_scale": float(np.mean(above - start)),
        "alarms": len(peaks),
        "alarms_scale": float(np.mean(np.array(peaks) - start)),
    }


def _hours(calibration: Mapping[str, Any], fps: float) -> float:
    return calibration["num_frames"] / (3600.0 * fps)
