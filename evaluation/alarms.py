"""Alarms: stretches of frames whose smoothed score is at or above a threshold.

Stretches with a short gap between them are one alarm, and short alarms are none: one person behind
a tree is not two alarms, and a flash of a frame's length none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluation import metrics
from evaluation.evaluate import Threshold
from utils.console import duration, number_of

_SLACK = 2e-3  # seconds: containers round times to a millisecond


@dataclass(frozen=True)
class AlarmRule:
    """What counts as an alarm.

    Attributes:
        threshold: of the smoothed score; ``None`` raises no alarm.
        merge_seconds: a gap shorter than this does not end an alarm.
        min_seconds: an alarm shorter than this, from its first to its last frame, is none.
    """

    threshold: float | None
    merge_seconds: float = 0.0
    min_seconds: float = 0.0

    @classmethod
    def of(cls, threshold: Threshold | None, settings: Any) -> AlarmRule:
        """The rule of a configuration's ``alarms`` block."""
        value = threshold.value if threshold else None
        return cls(value, settings.merge_seconds, settings.min_seconds)

    def is_reached(self, score: float) -> bool:
        """Whether a score is one of an alarm."""
        return self.threshold is not None and score >= self.threshold


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        video: name of the video or camera.
        start, stop: first frame and one past the last; peak: frame of the highest score.
        score: smoothed score at the peak.
        start_seconds, end_seconds, peak_seconds: when its first frame began, its last one ended
            and its peak began, in the seconds that the tracker was given.
    """

    video: str
    start: int
    stop: int
    peak: int
    score: float
    start_seconds: float
    end_seconds: float
    peak_seconds: float

    def as_json(self) -> dict[str, Any]:
        """Frames and seconds, as they stand in ``alarms.json``."""
        return {
            "video": self.video,
            "start_frame": self.start,
            "end_frame": self.stop - 1,
            "peak_frame": self.peak,
            "start_seconds": round(self.start_seconds, 3),
            "end_seconds": round(self.end_seconds, 3),
            "peak_seconds": round(self.peak_seconds, 3),
            "peak_score": self.score,
        }


class AlarmEvent(NamedTuple):
    """An alarm has lasted long enough to be one (``started``), or is over (``ended``)."""

    kind: Literal["started", "ended"]
    alarm: Alarm


class AlarmTracker:
    """Turns a stream of scores into alarms; it remembers the running one only.

    An alarm starts when it has lasted for ``min_seconds``, and ends when nothing has reached the
    threshold for ``merge_seconds``; its times are those of its first and last frame.

    Args:
        video: name that the alarms carry.
        rule: what counts as an alarm.
        frame_seconds: how long a frame lasts.
    """

    def __init__(self, video: str, rule: AlarmRule, frame_seconds: float) -> None:
        self._video, self._rule, self._frame_seconds = video, rule, frame_seconds
        self.latest: Alarm | None = None  # running, but perhaps too short as yet
        self._has_started = False

    @property
    def running(self) -> Alarm | None:
        """The alarm that has started and is not over."""
        return self.latest if self._has_started else None

    def push(self, frame: int, score: float, seconds: float) -> list[AlarmEvent]:
        """Take the next frame's number, score and time; give what happened, in order."""
        latest = self.latest
        is_next = latest is not None and frame == latest.stop
        is_near = latest is not None and self._is_near(latest, seconds)
        if not self._rule.is_reached(score):
            return [] if is_near else self.close()
        events = [] if is_next or is_near else self.close()
        self.latest = self._extended(frame, score, seconds)
        return events + self._start_if_long()

    def close(self) -> list[AlarmEvent]:
        """End the running alarm, as the end of the video does."""
        ended, self.latest = self.running, None
        self._has_started = False
        return [] if ended is None else [AlarmEvent("ended", ended)]

    def _is_near(self, latest: Alarm, seconds: float) -> bool:
        return seconds - latest.end_seconds < self._rule.merge_seconds - _SLACK

    def _extended(self, frame: int, score: float, seconds: float) -> Alarm:
        end, latest = seconds + self._frame_seconds, self.latest
        if latest is None:
            return Alarm(self._video, frame, frame + 1, frame, score, seconds, end, seconds)
        longer = replace(latest, stop=frame + 1, end_seconds=end)
        if score <= latest.score:
            return longer
        return replace(longer, peak=frame, score=score, peak_seconds=seconds)

    def _start_if_long(self) -> list[AlarmEvent]:
        latest = self.latest
        assert latest is not None
        length = latest.end_seconds - latest.start_seconds
        if self._has_started or length < self._rule.min_seconds - _SLACK:
            return []
        self._has_started = True
        return [AlarmEvent("started", latest)]


def alarm_list(
    threshold: Threshold | None, stats: AlarmStats, alarms: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What ``alarms.json`` holds."""
    return {
        "format_version": 1,
        "threshold": threshold.value if threshold else None,
        "threshold_source": threshold.source if threshold else "none",
        "expected_on_normal_video": threshold.expected if threshold else "",
        "seen": stats.as_json(),
        "alarms": list(alarms),
    }


def verdict(threshold: Threshold | None, stats: AlarmStats, highest: float | None) -> str:
    """The first sentence of a report.

    Args:
        threshold: of the alarms, if there is one.
        stats: alarms and frames above the threshold.
        highest: score of all frames, if there is one.
    """
    length = duration(stats.seconds)
    top = "no frame was scored" if highest is None else f"the highest score is {highest:.3g}"
    if threshold is None:
        return f"No threshold, so no alarms, in {length} of video; {top}"
    if stats.alarms:
        return f"{number_of(stats.alarms, 'alarm')} in {length} of video; {top}"
    return f"No alarm in {length} of video; {top}, alarms are from {threshold.value:.3g} on"


def find_alarms(
    video: str,
    scores: np.ndarray,
    rule: AlarmRule,
    fps: float,
    first_frame: int = 0,
    seconds: np.ndarray | None = None,
) -> list[Alarm]:
    """All alarms of a video, in order.

    Args:
        video: its name.
        scores: (T,) smoothed scores.
        rule: what counts as an alarm.
        fps: frames per second, on average.
        first_frame: number of the frame that ``scores`` begins with.
        seconds: when each frame of the video begins, those before ``first_frame`` too; ``None``: at
            even intervals.
    """
    tracker = AlarmTracker(video, rule, 1 / fps)
    events = []
    for frame, score in enumerate(scores.tolist(), first_frame):
        begins = frame / fps if seconds is None else float(seconds[frame])
        events += tracker.push(frame, score, begins)
    return [event.alarm for event in events + tracker.close() if event.kind == "ended"]


@dataclass(frozen=True)
class AlarmStats:
    """What a threshold brought: alarms and frames in alarm, among all frames and seconds."""

    alarms: int
    alarm_frames: int
    frames: int
    seconds: float

    def __add__(self, other: AlarmStats) -> AlarmStats:
        """Of both videos."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return AlarmStats(*(one + two for one, two in pairs))

    @property
    def alarms_per_hour(self) -> float | None:
        """Alarms per hour of video; ``None`` where a few minutes cannot tell."""
        rate = metrics.per_hour(self.alarms, self.seconds)
        return None if math.isnan(rate) else rate

    @property
    def frames_per_thousand(self) -> float:
        """Frames in alarm out of 1000."""
        return 1000.0 * self.alarm_frames / max(self.frames, 1)

    def describe(self) -> str:
        """In words; whether the alarms are false only somebody who looks can tell."""
        rate = self.alarms_per_hour
        rate_text = "" if rate is None else f", {rate:.3g} an hour"
        over = f"{self.alarm_frames} of {self.frames} frames at or above the threshold"
        return f"{number_of(self.alarms, 'alarm')} in {duration(self.seconds)}{rate_text}; {over}"

    def as_json(self) -> dict[str, float | None]:
        """All numbers."""
        return {
            **dataclasses.asdict(self),
            "alarms_per_hour": self.alarms_per_hour,
            "frames_per_thousand": self.frames_per_thousand,
        }
