"""Alarms: unbroken runs of frames whose smoothed score is at or above a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
        """Frames and seconds since the start of the video, at ``fps`` frames a second."""
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


def alarm_rate(alarms: Sequence[Alarm], num_frames: int, fps: float) -> dict[str, float]:
    """What was seen: number of alarms, alarms an hour, frames in alarm per 1000."""
    frames = sum(alarm.stop - alarm.start for alarm in alarms)
    return {
        "alarms": len(alarms),
        "alarms_per_hour": len(alarms) * 3600.0 * fps / max(1, num_frames),
        "frames_per_thousand": 1000.0 * frames / max(1, num_frames),
    }
