"""Alarms: unbroken runs of frames whose smoothed score is at or above a threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.evaluate import Threshold


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        video: name of the video or camera.
        start, stop: first frame and one past the last; peak: frame of the highest score.
        score: smoothed score at the peak.
    """

    video: str
    start: int
    stop: int
    peak: int
    score: float

    def as_json(self, fps: float) -> dict[str, Any]:
        """Frames and seconds since the start of the video, at ``fps`` frames per second."""
        return {
            "video": self.video,
            "start_frame": self.start,
            "end_frame": self.stop - 1,
            "peak_frame": self.peak,
            "start_seconds": round(self.start / fps, 3),
            "end_seconds": round(self.stop / fps, 3),
            "peak_seconds": round(self.peak / fps, 3),
            "peak_score": self.score,
        }


class AlarmTracker:
    """Turns a stream of scores into alarms; it remembers the running one only.

    Args:
        video: name that the alarms carry.
        threshold: ``None`` raises no alarm.
    """

    def __init__(self, video: str, threshold: float | None) -> None:
        self._video = video
        self._threshold = threshold
        self.running: Alarm | None = None

    def push(self, frame: int, score: float) -> Alarm | None:
        """Take the next frame's score; give the alarm that it ends, if it ends one."""
        if self._threshold is None or score < self._threshold:
            return self.close()
        alarm = self.running
        if alarm is None:
            self.running = Alarm(self._video, frame, frame + 1, frame, score)
        else:
            peak = (frame, score) if score > alarm.score else (alarm.peak, alarm.score)
            self.running = Alarm(self._video, alarm.start, frame + 1, *peak)
        return None

    def close(self) -> Alarm | None:
        """End the running alarm, as the end of the video does, and give it."""
        ended, self.running = self.running, None
        return ended


def alarm_list(
    threshold: Threshold | None, seen: AlarmStats, alarms: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What ``alarms.json`` holds."""
    return {
        "format_version": 1,
        "threshold": threshold.value if threshold else None,
        "threshold_source": threshold.source if threshold else "none",
        "expected_on_normal_video": threshold.expected if threshold else "",
        "seen": seen.as_json(),
        "alarms": list(alarms),
    }


def find_alarms(
    video: str, scores: np.ndarray, threshold: float | None, first_frame: int = 0
) -> list[Alarm]:
    """All alarms of a video, in order.

    Args:
        video: its name.
        scores: (T,) smoothed scores.
        threshold: ``None`` raises no alarm.
        first_frame: number of the frame that ``scores`` begins with.
    """
    tracker = AlarmTracker(video, threshold)
    ended = [tracker.push(frame, score) for frame, score in enumerate(scores.tolist(), first_frame)]
    return [alarm for alarm in (*ended, tracker.close()) if alarm is not None]


@dataclass(frozen=True)
class AlarmStats:
    """What a threshold brought: alarms and frames in alarm, among all frames and seconds."""

    alarms: int
    alarm_frames: int
    frames: int
    seconds: float

    @property
    def alarms_per_hour(self) -> float:
        """Alarms per hour of video."""
        return self.alarms * 3600.0 / max(self.seconds, 1e-9)

    @property
    def frames_per_thousand(self) -> float:
        """Frames in alarm out of 1000."""
        return 1000.0 * self.alarm_frames / max(self.frames, 1)

    def describe(self) -> str:
        """In words; whether the alarms are false only somebody who looks can tell."""
        return (
            f"{self.alarms} alarm(s) in {self.seconds / 60:.3g} minutes "
            f"({self.alarms_per_hour:.4g} per hour, {self.frames_per_thousand:.4g} frames in a "
            "thousand), true and false ones"
        )

    def as_json(self) -> dict[str, float]:
        """All numbers."""
        return {
            **dataclasses.asdict(self),
            "alarms_per_hour": self.alarms_per_hour,
            "frames_per_thousand": self.frames_per_thousand,
        }
