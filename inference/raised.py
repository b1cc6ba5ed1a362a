"""Alarms of whole videos: into the report, into ``alarms.json`` and onto the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.alarms import Alarm, AlarmRule, AlarmStats, alarm_list, find_alarms, verdict
from evaluation.evaluate import Evaluation
from inference.annotated import clip_name
from utils.console import echo
from utils.files import write_json


def with_alarms(
    evaluation: Evaluation,
    rule: AlarmRule,
    rates: Sequence[float],
    output: Path,
    times: Sequence[np.ndarray | None] | None = None,
) -> tuple[Evaluation, AlarmStats]:
    """The same evaluation with its alarms and a verdict, and how many alarms there are.

    Args:
        evaluation: of some videos.
        rule: when a frame is in alarm.
        rates: frames per second of each video.
        times: when each of its frames begins, (T,) seconds; ``None``: at even intervals.
        output: folder of the results, where clips of alarms are if there are any.
    """
    times = times or [None] * len(rates)
    alarms, stats = _find_alarms(evaluation, rule, rates, times)
    rows = [_row(alarm, output) for alarm in alarms]
    scores = np.concatenate(evaluation.primary.scores)
    highest = float(scores.max()) if len(scores) else None
    text = verdict(evaluation.threshold, stats, highest)
    return replace(evaluation, raised=rows, alarm_rate=stats.describe(), verdict=text), stats


def write_alarms(output: Path, evaluation: Evaluation, stats: AlarmStats) -> None:
    """Write ``alarms.json`` below ``output`` and say what is in it."""
    threshold = evaluation.threshold
    write_json(output / "alarms.json", alarm_list(threshold, stats, evaluation.raised))
    echo(f"\n{evaluation.verdict}\nalarms: {output / 'alarms.json'}: {stats.describe()}")
    if threshold is None:
        echo("  no threshold: the checkpoint has none for this score; pass --threshold VALUE")
    elif threshold.expected:
        echo(f"  to be expected on normal video: {threshold.expected}")


def _find_alarms(
    evaluation: Evaluation,
    rule: AlarmRule,
    rates: Sequence[float],
    times: Sequence[np.ndarray | None],
) -> tuple[list[Alarm], AlarmStats]:
    alarms, seconds, frames, over, trim = [], 0.0, 0, 0, evaluation.smoothing.trim
    columns = zip(evaluation.cubes.videos, evaluation.primary.scores, rates, times, strict=True)
    for name, scores, fps, begins in columns:
        alarms += find_alarms(name, scores, rule, fps, trim, begins)
        seconds, frames = seconds + len(scores) / fps, frames + len(scores)
        over += sum(map(rule.is_reached, scores.tolist()))
    return alarms, AlarmStats(len(alarms), over, frames, seconds)


def _row(alarm: Alarm, output: Path) -> dict[str, Any]:
    clip = f"clips/{clip_name(alarm.video, alarm.start)}.mp4"
    return alarm.as_json() | {"clip": clip if (output / clip).is_file() else None}
