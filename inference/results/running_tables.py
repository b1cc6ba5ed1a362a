"""Results a video at a time: what is known while the other videos are still to be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluation.alarms import AlarmRule, AlarmStats, alarm_list
from evaluation.evaluate import Evaluation
from inference.raised import with_alarms
from inference.video_cubes import VideoResult
from utils.console import echo
from utils.errors import UserError
from utils.files import write_json
from visualization.results import write_cube_scores, write_frame_scores


class RunningTables:
    """``frame_scores.csv``, ``cube_scores.csv``, ``alarms.json`` of the videos scored so far.

    The run's end writes them anew, with the same content.

    Args:
        output: folder of the results.
        evaluate: scores of videos.
        rule: when a frame is in alarm.
    """

    def __init__(
        self,
        output: Path,
        evaluate: Callable[[Sequence[VideoResult]], Evaluation],
        rule: AlarmRule,
    ) -> None:
        self._output, self._evaluate, self._rule = output, evaluate, rule
        self._raised: list[Any] = []
        self._stats = AlarmStats(0, 0, 0, 0.0)
        self._is_new = True

    def add(self, result: VideoResult, fps: float) -> None:
        """Append a video's scores and alarms, and say how many there are."""
        try:
            evaluation = self._evaluate([result])
        except UserError:  # shorter than the frames that fill the history
            echo(f"{result.name}: too short to be scored")
            return
        evaluation, stats = with_alarms(
            evaluation, self._rule, [fps], self._output, [result.seconds]
        )
        appends = not self._is_new
        write_frame_scores(self._output / "frame_scores.csv", evaluation, appends)
        if evaluation.cubes.boxes is not None:
            write_cube_scores(self._output / "cube_scores.csv", evaluation, appends)
        self._is_new = False
        self._raised += evaluation.raised
        self._stats += stats
        alarms = alarm_list(evaluation.threshold, self._stats, self._raised)
        write_json(self._output / "alarms.json", alarms)
        echo(f"{result.name}: {evaluation.verdict}")
