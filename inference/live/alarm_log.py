"""The alarms of a live run: announced, appended to a file, the last ones with pictures."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from evaluation.alarms import (
    Alarm,
    AlarmEvent,
    AlarmRule,
    AlarmStats,
    AlarmTracker,
    alarm_list,
)
from evaluation.evaluate import Threshold
from inference.clips import ClipRecorder
from inference.live.files import time_text
from inference.live.notify import Listener
from inference.live.report import AlarmPicture
from inference.live.scorer import ScoredFrame
from utils.config.alarms import AlarmConfig
from utils.console import echo
from utils.files import naming, write_json
from visualization.thumbnails import cube_pictures, frame_with_box

_MOST_ALARMS, _MOST_PICTURES = 1000, 24  # kept in memory; alarms.jsonl has all
_SNAPSHOT_WIDTH = 288  # pixels

Explain = Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]
Why = Callable[[Mapping[str, float]], str]


class _Snapshot(NamedTuple):
    """The highest cube of a frame: its frame's number, score, errors, the frame made small, the box
    in it, the cube. Of a frame that is scored as a whole the frame alone."""

    number: int
    score: float
    errors: Mapping[str, float]
    frame: np.ndarray
    box: np.ndarray | None = None
    appearance: np.ndarray | None = None
    motion: np.ndarray | None = None


class AlarmLog:
    """Follows the scores of a run, announces its alarms and writes them down.

    ``alarms.jsonl`` gets a line when an alarm starts and one when it is over, ``alarms.json`` the
    last alarms whenever ``write`` is called.

    Args:
        folder: of the results.
        name: of the camera.
        threshold: ``None`` raises no alarm.
        settings: the configuration's ``alarms`` block.
        fps: of the camera.
        window: frames that a smoothed score draws on; an alarm's picture is sought among them.
        explain: maps one cube (1,...) to what the model expected of it.
        why: says of the errors of a cube which of them are high.
        listeners: hear every line of ``alarms.jsonl``.
        clips: writes the clips; ``None``: there are none.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        threshold: Threshold | None,
        settings: AlarmConfig,
        fps: float,
        window: int,
        explain: Explain,
        why: Why,
        listeners: Sequence[Listener] = (),
        clips: ClipRecorder | None = None,
    ) -> None:
        self.count = self.frames_in_alarm = 0
        self.recent: deque[dict[str, Any]] = deque(maxlen=_MOST_ALARMS)
        self.running: dict[str, Any] | None = None
        self.pictures: deque[AlarmPicture] = deque(maxlen=_MOST_PICTURES)
        self._folder, self._threshold = folder, threshold
        self._explain, self._why = explain, why
        self._rule = AlarmRule.of(threshold, settings)
        self._tracker = AlarmTracker(name, self._rule, 1 / fps)
        self._listeners, self._clips = listeners, clips
        self._snapshots: deque[_Snapshot] = deque()
        self._window = window
        self._best: _Snapshot | None = None
        self._began: float | None = None
        (folder / "alarms.jsonl").write_text("")

    def add(self, scored: ScoredFrame) -> None:
        """Take the next frame."""
        live = scored.live
        self._began = live.clock if self._began is None else self._began
        self._remember(scored)
        if scored.score is None:
            return
        self.frames_in_alarm += self._rule.is_reached(scored.score)
        self._follow(self._tracker.push(live.index, scored.score, live.clock))
        if self._tracker.running and self._snapshots:
            latest = self._snapshots[-1]
            self._best = max(self._best or latest, latest, key=lambda each: each.score)

    def _remember(self, scored: ScoredFrame) -> None:
        """Keep the frames that an alarm may be shown by, as long as a score draws on them.

        A smoothed score is a median, so where it reaches the threshold, a cube does, too.
        """
        while self._snapshots and self._snapshots[0].number <= scored.live.index - self._window:
            self._snapshots.popleft()
        highest = scored.score if scored.is_whole else max(scored.cube_scores, default=None)
        if highest is not None and self._rule.is_reached(float(highest)):
            self._snapshots.append(_snapshot(scored))

    def close(self) -> None:
        """End the running alarm, if there is one, as when the camera is gone."""
        self._follow(self._tracker.close())

    def stats(self, frames: int, seconds: float) -> AlarmStats:
        """The rate of alarms over so much scored video."""
        return AlarmStats(self.count, self.frames_in_alarm, frames, seconds)

    def records(self, most: int = _MOST_ALARMS) -> list[dict[str, Any]]:
        """The last alarms, the running one at the end; ``clip`` where there is one by now."""
        known = [*self.recent, *([self.running] if self.running else [])]
        return [
            record | {"clip": record["clip"] if self._has(record["clip"]) else None}
            for record in known[-most:]
        ]

    def _has(self, clip: str | None) -> bool:
        return clip is not None and (self._folder / clip).is_file()

    def write(self, stats: AlarmStats) -> None:
        """Write ``alarms.json``: threshold, rates, the last alarms."""
        tree = alarm_list(self._threshold, stats, self.records())
        write_json(self._folder / "alarms.json", tree)

    def _follow(self, events: Sequence[AlarmEvent]) -> None:
        for kind, alarm in events:
            self._start(alarm) if kind == "started" else self._end(alarm)

    def _start(self, alarm: Alarm) -> None:
        self.count += 1
        name = f"alarm-{self.count:06d}"
        self._best = max(self._snapshots, key=lambda each: each.score, default=None)
        record = self.running = self._record("started", alarm)
        if self._clips is not None:
            self._clips.start(name, alarm.start_seconds)
        echo(
            f"{record['start_time']} ALARM {self.count}: frame {alarm.start}, "
            f"score {alarm.score:.2f}"
        )
        self._tell(record)

    def _end(self, alarm: Alarm) -> None:
        record, self.running = self._record("ended", alarm), None
        self.recent.append(record)
        if self._clips is not None:
            self._clips.end(f"alarm-{self.count:06d}", alarm.end_seconds)
        seconds = alarm.end_seconds - alarm.start_seconds
        echo(
            f"{record['end_time']} alarm {self.count} over: {seconds:.1f} s, peak "
            f"{alarm.score:.2f} at frame {alarm.peak}"
        )
        if self._best is not None:
            self.pictures.append(self._draw(record, self._best))
        self._tell(record)

    def _record(self, event: str, alarm: Alarm) -> dict[str, Any]:
        """An alarm as JSON: seconds since the first frame, and the time of day."""
        record: dict[str, Any] = {"event": event, "id": self.count, **alarm.as_json()}
        for name in ("start", "end", "peak"):
            clock = getattr(alarm, f"{name}_seconds")
            record[f"{name}_seconds"] = round(clock - (self._began or clock), 3)
            record[f"{name}_time"] = time_text(clock)
        clip = f"clips/alarm-{self.count:06d}.mp4"
        why = self._why(self._best.errors) if self._best and self._best.errors else ""
        return record | {"why": why, "clip": clip if self._clips is not None else None}

    def _tell(self, record: Mapping[str, Any]) -> None:
        for listener in self._listeners:  # first: they hear of it even where the disk is full
            listener.tell(record)
        path = self._folder / "alarms.jsonl"
        with naming(path), path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")

    def _draw(self, record: dict[str, Any], best: _Snapshot) -> AlarmPicture:
        still = frame_with_box(best.frame, best.box, _SNAPSHOT_WIDTH)
        if best.appearance is None or best.motion is None:
            return AlarmPicture(record, still, None)
        shown = self._explain(best.appearance[None], best.motion[None])
        cube = cube_pictures({name: np.asarray(values[0]) for name, values in shown.items()})
        return AlarmPicture(record, still, cube, record["why"])


def _snapshot(scored: ScoredFrame) -> _Snapshot:
    frame, cubes = scored.live.frame, scored.cubes
    scale = _SNAPSHOT_WIDTH / frame.shape[1]
    size = _SNAPSHOT_WIDTH, max(1, round(frame.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(frame, size, interpolation=way)
    if scored.is_whole:
        return _Snapshot(scored.live.index, scored.score or 0.0, {}, small)
    best = int(np.argmax(scored.cube_scores))
    return _Snapshot(
        scored.live.index,
        float(scored.cube_scores[best]),
        {name: float(values[best]) for name, values in scored.errors.items()},
        small,
        cubes.boxes[best] * scale,
        cubes.appearance[best].copy(),  # not a view that would keep the whole batch
        cubes.motion[best].copy(),
    )
