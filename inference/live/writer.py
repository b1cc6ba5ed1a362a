"""Everything that a live run writes, in memory that does not grow with its length."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from evaluation.evaluate import Threshold
from inference.live.alarm_log import AlarmLog, Explain
from inference.live.files import LiveResultFiles, time_text
from inference.live.frame_buffer import FrameBuffer
from inference.live.latency import LatencyMeter, Pace
from inference.live.peak_curve import PeakCurve
from inference.live.report import render_live_report
from inference.live.scorer import ScoredFrame
from utils.console import echo
from utils.errors import finish_all
from utils.files import write_text
from visualization.annotate import Annotator, ScoreScale


@dataclass(frozen=True)
class LiveSettings:
    """How a live run is written down.

    Attributes:
        with_video: write the annotated video.
        part_seconds: length of a part of the tables and the video.
        keep_parts: finished parts that are kept; 0: all.
        status_seconds: time between two lines on the screen.
    """

    with_video: bool = True
    part_seconds: float = 3600.0
    keep_parts: int = 24
    status_seconds: float = 10.0


class LiveWriter:
    """Writes tables, video, alarms, status lines and the report of a live run.

    Args:
        folder: exists and is ours.
        name: of the camera.
        frames: where the frames come from, for their counts and rate.
        threshold, scale: of alarms and colours.
        window: frames that a smoothed score draws on.
        explain: see ``AlarmLog``.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        frames: FrameBuffer,
        threshold: Threshold | None,
        scale: ScoreScale,
        window: int,
        explain: Explain,
        settings: LiveSettings,
    ) -> None:
        self._folder, self._name, self._frames = folder, name, frames
        self._threshold, self._settings = threshold, settings
        self._files = LiveResultFiles(folder, frames.fps, settings.with_video, settings.keep_parts)
        self._alarms = AlarmLog(folder, name, threshold, window, explain)
        self._annotator = Annotator(scale, threshold.value if threshold else None)
        self._meter, self._curve = LatencyMeter(), PeakCurve()
        self._started = time.time()
        self._told = self._part_began = time.monotonic()
        self._judged = 0  # frames with a score

    def add(self, scored: ScoredFrame) -> None:
        """Write one frame."""
        live, score = scored.live, scored.score
        self._files.frame(
            None if score is None else (self._name, live.index, score, "", time_text(live.clock)),
            _cube_rows(self._name, scored),
        )
        if score is not None:
            self._judged += 1
            self._curve.add(live.index, score)
        self._alarms.add(scored)
        self._meter.add(live.arrived)
        if self._settings.with_video:
            caption = f"{self._name}  frame {live.index}  {time_text(live.clock)}"
            self._files.picture(
                self._annotator.draw(
                    live.frame, scored.cubes.boxes, scored.cube_scores, score, caption
                )
            )

    def tick(self) -> None:
        """Between frames: say how it goes and begin a new part when it is time."""
        now = time.monotonic()
        if now - self._told >= self._settings.status_seconds:
            self._told = now
            echo(f"{time_text(time.time())} {self._state(self._meter.since_mark())}")
            self._files.sync()
            self._alarms.write(self._alarms.seen(self._judged, self._meter.seconds))
        if now - self._part_began >= self._settings.part_seconds:
            self._part_began = now
            self._files.roll()
            self._write_report()

    def close(self) -> None:
        """Finish all files; one that cannot be written keeps none of the others from it."""
        finish_all(
            self._alarms.close,
            self._files.close,
            lambda: self._alarms.write(self._alarms.seen(self._judged, self._meter.seconds)),
            self._write_report,
        )
        echo(f"{time_text(time.time())} over: {self._state(self._meter.overall())}")
        echo(f"scores, alarms, video and report.html: {self._folder}")

    def _state(self, pace: Pace) -> str:
        frames = self._frames
        return (
            f"{self._meter.frames} frames scored, {pace.fps:.1f} a second, latency p50 "
            f"{pace.p50:.0f} ms p99 {pace.p99:.0f} ms; {frames.dropped} dropped, "
            f"{frames.reconnected} reconnections, {self._alarms.count} alarms"
        )

    def _write_report(self) -> None:
        frames, overall, meter = self._frames, self._meter.overall(), self._meter
        facts = {
            "camera": self._name,
            "started": time_text(self._started),
            "length": str(timedelta(seconds=round(meter.seconds))),
            "frames": f"{frames.captured} came, {meter.frames} scored, {frames.dropped} dropped, "
            f"{meter.frames - self._judged} without a score while a new history filled",
            "pace": f"{overall.fps:.1f} frames per second; from a frame's arrival to its score "
            f"{overall.p50:.0f} ms (p50), {overall.p99:.0f} ms (p99)",
            "reconnections": str(frames.reconnected),
        }
        seen = self._alarms.seen(self._judged, meter.seconds).describe()
        page = render_live_report(
            f"{self._name}, live", facts, self._threshold, seen,
            self._curve, self._alarms.recent, self._alarms.pictures,
        )  # fmt: skip
        write_text(self._folder / "report.html", page)
        gc.collect()  # drawings are garbage in circles, which would pile up


def _cube_rows(name: str, scored: ScoredFrame) -> list[tuple]:
    blank = np.full(len(scored.cubes.boxes), "")
    columns = (
        *np.round(scored.cubes.boxes.astype(np.float64), 2).T.tolist(),
        np.asarray(scored.errors.get("flow_error", blank)).tolist(),
        np.asarray(scored.errors.get("frame_error", blank)).tolist(),
        scored.cube_scores.tolist(),
    )
    return [(name, scored.live.index, *values) for values in zip(*columns, strict=True)]
