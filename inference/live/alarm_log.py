"""The alarms of a live run: announced, appended to a file, the last ones with pictures."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from evaluation.alarms import Alarm, AlarmStats, AlarmTracker, alarm_list
from evaluation.evaluate import Threshold
from inference.live.files import time_text
from inference.live.report import AlarmPicture
from inference.live.scorer import ScoredFrame
from utils.console import echo
from utils.files import write_json
from visualization.thumbnails import cube_strip, frame_with_box

_MOST_ALARMS, _MOST_PICTURES = 1000, 24  # kept in memory; alarms.jsonl has all
_GLIMPSE_WIDTH = 288  # pixels

Explain = Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]


class _Snapshot(NamedTuple):
    """The highest cube of a frame: its score, the frame made small, the box in it, the cube."""

    score: float
    frame: np.ndarray
    box: np.ndarray
    appearance: np.ndarray
    motion: np.ndarray


class AlarmLog:
    """Follows the scores of a run and writes down its alarms.

    Args:
        folder: ``alarms.jsonl`` gets a line as soon as an alarm is over, ``alarms.json`` the last
            alarms whenever ``write`` is called.
        name: of the camera.
        threshold: ``None`` raises no alarm.
        window: frames that a smoothed score draws on; an alarm's picture is sought among them.
        explain: maps one cube (1,...) to what the model expected of it.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        threshold: Threshold | None,
        window: int,
        explain: Explain,
    ) -> None:
        self.count = self.frames_in_alarm = 0
        self.recent: deque[dict[str, Any]] = deque(maxlen=_MOST_ALARMS)
        self.pictures: deque[AlarmPicture] = deque(maxlen=_MOST_PICTURES)
        self._folder, self._threshold, self._explain = folder, threshold, explain
        self._tracker = AlarmTracker(name, threshold.value if threshold else None)
        self._glimpses: deque[_Snapshot] = deque(maxlen=window)
        self._best: _Snapshot | None = None
        self._clocks: dict[str, float] = {}  # of the running alarm
        self._began: float | None = None
        (folder / "alarms.jsonl").write_text("")

    def add(self, scored: ScoredFrame) -> None:
        """Take the next frame."""
        live = scored.live
        self._began = live.clock if self._began is None else self._began
        if len(scored.cubes.boxes) and self._threshold is not None:
            self._glimpses.append(_snapshot(scored))
        if scored.score is None:
            return
        before = self._tracker.running
        ended = self._tracker.push(live.index, scored.score)
        if ended is not None:
            self._end(ended)
        running = self._tracker.running
        if running is not None:
            self._follow(running, is_new=before is None, clock=live.clock)

    def close(self) -> None:
        """End the running alarm, if there is one."""
        ended = self._tracker.close()
        if ended is not None:
            self._end(ended)

    def seen(self, frames: int, seconds: float) -> AlarmStats:
        """The rate of alarms over so much scored video."""
        return AlarmStats(self.count, self.frames_in_alarm, frames, seconds)

    def write(self, seen: AlarmStats) -> None:
        """Write ``alarms.json``: threshold, rates, the last alarms."""
        tree = alarm_list(self._threshold, seen, self.recent)
        write_json(self._folder / "alarms.json", tree)

    def _follow(self, alarm: Alarm, is_new: bool, clock: float) -> None:
        if is_new:
            self._clocks = {"start": clock}
            self._best = max(self._glimpses, key=lambda each: each.score, default=None)
            echo(f"{time_text(clock)} ALARM: frame {alarm.start}, score {alarm.score:.2f}")
        elif self._glimpses and self._best and self._glimpses[-1].score > self._best.score:
            self._best = self._glimpses[-1]
        if alarm.peak == alarm.stop - 1:
            self._clocks["peak"] = clock
        self._clocks["end"] = clock

    def _end(self, alarm: Alarm) -> None:
        self.count += 1
        self.frames_in_alarm += alarm.stop - alarm.start
        record = alarm.as_json(fps=1.0)
        for name, clock in self._clocks.items():
            record[f"{name}_seconds"] = round(clock - (self._began or clock), 3)
            record[f"{name}_time"] = time_text(clock)
        self.recent.append(record)
        with (self._folder / "alarms.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        echo(f"{record['end_time']} alarm over: peak {alarm.score:.2f} at frame {alarm.peak}")
        if self._best is not None:
            self.pictures.append(self._draw(record, self._best))

    def _draw(self, record: dict[str, Any], best: _Snapshot) -> AlarmPicture:
        seen = self._explain(best.appearance[None], best.motion[None])
        strip = cube_strip({name: np.asarray(values[0]) for name, values in seen.items()})
        return AlarmPicture(record, frame_with_box(best.frame, best.box, _GLIMPSE_WIDTH), *strip)


def _snapshot(scored: ScoredFrame) -> _Snapshot:
    best = int(np.argmax(scored.cube_scores))
    frame, cubes = scored.live.frame, scored.cubes
    scale = _GLIMPSE_WIDTH / frame.shape[1]
    size = _GLIMPSE_WIDTH, max(1, round(frame.shape[0] * scale))
    return _Snapshot(
        float(scored.cube_scores[best]),
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR),
        cubes.boxes[best] * scale,
        cubes.appearance[best].copy(),  # not a view that would keep the whole batch
        cubes.motion[best].copy(),
    )
