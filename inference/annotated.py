"""The drawn frames of a video: its annotated video, and a clip of each of its alarms."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from evaluation.alarms import AlarmEvent
from evaluation.evaluate import Threshold
from inference.clips import ClipRecorder
from inference.single_pass import ScoredFrame
from utils.config.alarms import AlarmConfig
from utils.threads.worker import Worker
from visualization.annotate import Annotator
from visualization.video_writer import VideoWriter

_MOST_WAITING = 16  # frames to draw; scoring then waits for them


def clip_name(video: str, start: int) -> str:
    """Name of the clip of the alarm of a video that begins at a frame."""
    return f"{video}-{start}"


class AnnotatedVideo:
    """Draws the frames of one video, in order; a context manager.

    Args:
        output: gets ``annotated/VIDEO.mp4`` and ``clips/VIDEO-FRAME.mp4``.
        video: its name.
        fps: frames per second, on average.
        annotator: draws its frames.
        threshold: ``None``: there are no alarms, so no clips.
        alarms: the configuration's block.
        with_video: write the annotated video.
    """

    def __init__(
        self,
        output: Path,
        video: str,
        fps: float,
        annotator: Annotator,
        threshold: Threshold | None,
        alarms: AlarmConfig,
        with_video: bool,
    ) -> None:
        self._video, self._annotator = video, annotator
        path = output / "annotated" / f"{video}.mp4"
        self._out = VideoWriter(path, fps) if with_video else None
        self._clips: ClipRecorder | None = None
        if alarms.clips and threshold is not None:
            self._clips = ClipRecorder(output / "clips", fps, alarms, may_drop=False)

    def draw(
        self, frame: ScoredFrame, smoothed: float | None, events: Sequence[AlarmEvent] = ()
    ) -> None:
        """Draw a frame.

        Args:
            frame: the next one.
            smoothed: its score, if it has one.
            events: the alarms that start or end with it.
        """
        if self._out is not None or self._clips is not None:
            self._worker.do(lambda: self._draw(frame, smoothed, events))

    def _draw(
        self, frame: ScoredFrame, smoothed: float | None, events: Sequence[AlarmEvent]
    ) -> None:
        caption = f"{self._video}  frame {frame.index}  {frame.seconds:.1f} s"
        drawn = self._annotator.draw(
            frame.picture, frame.cubes.boxes, frame.cube_scores, smoothed, caption
        )
        if self._out is not None:
            self._out.write(drawn, frame.seconds)
        if self._clips is not None:
            self._clips.picture(frame.seconds, drawn)
            self._cut(self._clips, events)

    def _cut(self, clips: ClipRecorder, events: Sequence[AlarmEvent]) -> None:
        for kind, alarm in events:
            name = clip_name(self._video, alarm.start)
            if kind == "started":
                clips.start(name, alarm.start_seconds)
            else:
                clips.end(name, alarm.end_seconds)

    def __enter__(self) -> AnnotatedVideo:
        with contextlib.ExitStack() as begun:  # left in the order opposite to this
            if self._clips is not None:
                begun.push(self._close_clips)
            if self._out is not None:
                begun.enter_context(self._out)
            self._worker = begun.enter_context(Worker("pictures", _MOST_WAITING))
            self._begun = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._begun.__exit__(kind, error, trace)

    def _close_clips(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._clips is not None  # else this is not called
        self._clips.close(discard=kind is not None)
