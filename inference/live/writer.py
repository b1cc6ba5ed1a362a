"""Everything that a live run writes, in memory that does not grow with its length."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.evaluate import Threshold
from inference.clips import ClipRecorder
from inference.live.alarm_log import AlarmLog, Explain, Why
from inference.live.files import LiveResultFiles, time_text
from inference.live.frame_buffer import FrameBuffer
from inference.live.latency import LatencyMeter, Pace
from inference.live.notify import Listener
from inference.live.peak_curve import PeakCurve
from inference.live.pictures import LivePictures
from inference.live.report import render_live_report
from inference.live.scorer import ScoredFrame
from inference.live.server.state import LiveState, Status
from utils.config.alarms import AlarmConfig
from utils.console import duration, echo
from utils.errors import finish_all
from utils.files import write_text
from visualization.annotate import Annotator
from visualization.report import time_of_day
from visualization.results import cube_columns, shown_errors

_SHOWN = 100  # alarms on the page
_PUBLISH_SECONDS = 0.5
_SILENCE = 10.0  # seconds without a frame after which a running alarm is over


@dataclass(frozen=True)
class LiveSettings:
    """How a live run is written down, and who hears of its alarms.

    Attributes:
        with_video: write the annotated video.
        part_seconds: length of a part of the tables and the video.
        keep_parts: finished parts that are kept; 0: all.
        status_seconds: time between two lines on the screen.
        alarms: what counts as one alarm, and its clip.
        listeners: see ``AlarmLog``; closed at the end.
        state: what a page shows, if there is one.
    """

    with_video: bool = True
    part_seconds: float = 3600.0
    keep_parts: int = 24
    status_seconds: float = 10.0
    alarms: AlarmConfig = field(default_factory=AlarmConfig)
    listeners: Sequence[Listener] = ()
    state: LiveState | None = None


class LiveWriter:
    """Writes tables, video, alarms, status lines and the report of a live run.

    Args:
        folder: exists and is ours.
        name: of the camera.
        frames: where the frames come from, for their counts and rate.
        threshold: of alarms.
        annotator: draws the frames.
        errors: that the model has of a cube; some get a column in ``cube_scores.csv``.
        window: frames that a smoothed score draws on.
        explain, why: see ``AlarmLog``.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        frames: FrameBuffer,
        threshold: Threshold | None,
        annotator: Annotator,
        errors: Sequence[str],
        window: int,
        explain: Explain,
        why: Why,
        settings: LiveSettings,
    ) -> None:
        self._folder, self._name, self._frames = folder, name, frames
        self._threshold, self._settings = threshold, settings
        self._errors = shown_errors(errors)
        self._files = LiveResultFiles(
            folder, frames.fps, settings.with_video, settings.keep_parts,
            cube_columns(self._errors),
        )  # fmt: skip
        self._clips: ClipRecorder | None = None
        if settings.alarms.clips and threshold is not None:
            self._clips = ClipRecorder(folder / "clips", frames.fps, settings.alarms, may_drop=True)
        self._alarms = AlarmLog(
            folder, name, threshold, settings.alarms, frames.fps, window, explain,
            why, settings.listeners, self._clips,
        )  # fmt: skip
        self._pictures = LivePictures(name, annotator, self._files, self._clips, settings.state)
        self._meter, self._curve = LatencyMeter(), PeakCurve()
        self._started = time.time()
        self._reported = self._part_began = self._added = time.monotonic()
        self._published = -1.0
        self._num_scored = 0  # frames with a score

    def add(self, scored: ScoredFrame) -> None:
        """Write one frame."""
        live, score = scored.live, scored.score
        self._files.frame(
            None if score is None else (self._name, live.index, score, "", time_text(live.clock)),
            _cube_rows(self._name, scored, self._errors),
        )
        if score is not None:
            self._num_scored += 1
            self._curve.add(live.index, score)
        self._meter.add(live.arrived)
        self._added = time.monotonic()
        self._pictures.add(scored)
        self._alarms.add(scored)

    def tick(self) -> None:
        """Between frames: say how it goes and begin a new part when it is time."""
        now = time.monotonic()
        if now - self._added >= max(_SILENCE, self._settings.alarms.merge_seconds):
            self._alarms.close()
        if now - self._published >= _PUBLISH_SECONDS:
            self._published = now
            self._publish()
        if now - self._reported >= self._settings.status_seconds:
            self._reported = now
            echo(f"{time_text(time.time())} {self._state(self._meter.since_mark())}")
            self._files.sync()
            self._alarms.write(self._alarms.stats(self._num_scored, self._meter.seconds))
        if now - self._part_began >= self._settings.part_seconds:
            self._part_began = now
            self._pictures.roll()
            self._write_report()

    def close(self) -> None:
        """Finish all files; one that cannot be written keeps none of the others from it."""
        finish_all(
            self._alarms.close,
            self._pictures.close,
            lambda: self._clips.close() if self._clips is not None else None,
            self._files.close,
            self._publish,
            lambda: self._alarms.write(self._alarms.stats(self._num_scored, self._meter.seconds)),
            self._write_report,
            *(listener.close for listener in self._settings.listeners),
        )
        echo(f"{time_text(time.time())} over: {self._state(self._meter.overall())}")
        echo(f"scores, alarms, video and report.html: {self._folder}")

    def _state(self, pace: Pace) -> str:
        frames = self._frames
        return (
            f"{self._meter.frames} frames scored, {pace.fps:.1f} a second, latency p50 "
            f"{pace.p50:.0f} ms p99 {pace.p99:.0f} ms; {frames.dropped} dropped, "
            f"{frames.reconnected} reconnections, {self._alarms.count} alarms{_gaps(frames.lost)}"
        )

    def _publish(self) -> None:
        if self._settings.state is not None:
            self._settings.state.publish(self._status(), self._alarms.records(_SHOWN))

    def _status(self) -> Status:
        frames, pace, threshold = self._frames, self._meter.lately(), self._threshold
        return Status(
            name=self._name,
            started=self._started,
            threshold=threshold.value if threshold else None,
            threshold_source=threshold.source if threshold else "",
            expected=threshold.expected if threshold else "",
            captured=frames.captured,
            scored=self._meter.frames,
            dropped=frames.dropped,
            reconnections=frames.reconnected,
            gaps=frames.lost,
            alarms=self._alarms.count,
            fps=pace.fps,
            camera_fps=frames.fps,
            latency_p50_ms=pace.p50,
            latency_p99_ms=pace.p99,
            in_alarm=self._alarms.running is not None,
        )

    def _write_report(self) -> None:
        frames, overall, meter = self._frames, self._meter.overall(), self._meter
        facts = {
            "camera": self._name,
            "started": time_of_day(time_text(self._started)),
            "length": duration(meter.seconds),
            "frames": f"{frames.captured} came, {meter.frames} scored, {frames.dropped} dropped, "
            f"{meter.frames - self._num_scored} without a score while a new history filled"
            f"{_gaps(frames.lost)}",
            "pace": f"{overall.fps:.1f} frames per second; from a frame's arrival to its score "
            f"{overall.p50:.0f} ms (p50), {overall.p99:.0f} ms (p99)",
            "reconnections": str(frames.reconnected),
        }
        stats = self._alarms.stats(self._num_scored, meter.seconds)
        page = render_live_report(
            f"{self._name}, live", facts, self._threshold, stats,
            self._curve, self._alarms.records(), self._alarms.pictures,
        )  # fmt: skip
        write_text(self._folder / "report.html", page)
        gc.collect()  # drawings are garbage in circles, which would pile up


def _cube_rows(name: str, scored: ScoredFrame, errors: Sequence[str]) -> list[tuple]:
    blank = np.full(len(scored.cubes.boxes), "")
    columns = (
        *np.round(scored.cubes.boxes.astype(np.float64), 2).T.tolist(),
        *(np.asarray(scored.errors.get(error, blank)).tolist() for error in errors),
        scored.cube_scores.tolist(),
    )
    return [(name, scored.live.index, *values) for values in zip(*columns, strict=True)]


def _gaps(count: int) -> str:
    """Words for gaps inside the stream; none where there were none."""
    return f", {count} gaps in the stream" if count else ""
