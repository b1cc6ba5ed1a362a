"""Alarms of whole videos: into the report, into ``alarms.json`` and onto the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.manifest import VideoEntry
from evaluation.alarms import AlarmStats, alarm_list, find_alarms
from evaluation.evaluate import Evaluation
from utils.console import echo
from utils.files import write_json


def with_alarms(
    evaluation: Evaluation, entries: Sequence[VideoEntry], rates: Sequence[float]
) -> tuple[Evaluation, AlarmStats]:
    """The same evaluation with the alarms of its threshold, and how many they are.

    Args:
        evaluation: of the videos ``entries``, in their order.
        entries: the videos.
        rates: frames per second of each.
    """
    value = evaluation.threshold.value if evaluation.threshold else None
    alarms, seconds, frames, trim = [], 0.0, 0, evaluation.smoothing.trim
    for entry, scores, fps in zip(entries, evaluation.primary.scores, rates, strict=True):
        alarms += find_alarms(entry.name, scores, value, trim)
        seconds, frames = seconds + len(scores) / fps, frames + len(scores)
    in_alarm = sum(alarm.stop - alarm.start for alarm in alarms)
    stats = AlarmStats(len(alarms), in_alarm, frames, seconds)
    fps_of = {entry.name: rate for entry, rate in zip(entries, rates, strict=True)}
    rows = [alarm.as_json(fps_of[alarm.video]) for alarm in alarms]
    return replace(evaluation, raised=rows, seen=stats.describe()), stats


def write_alarms(output: Path, evaluation: Evaluation, stats: AlarmStats) -> None:
    """Write ``alarms.json`` below ``output`` and say what is in it."""
    threshold = evaluation.threshold
    write_json(output / "alarms.json", alarm_list(threshold, stats, evaluation.raised))
    echo(f"alarms: {output / 'alarms.json'}: {stats.describe()}")
    if threshold is None:
        echo("  no threshold: the checkpoint has none for this score; pass --threshold VALUE")
    elif threshold.expected:
        echo(f"  to be expected on normal video: {threshold.expected}")
