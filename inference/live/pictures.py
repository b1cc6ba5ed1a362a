"""The pictures of a live run, drawn beside the scoring: annotated video, clips, the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference.clips import ClipRecorder
from inference.live.files import LiveResultFiles, time_text
from inference.live.frame_buffer import LiveFrame
from inference.live.scorer import ScoredFrame
from inference.live.server.state import LiveState
from utils.threads.worker import Worker
from visualization.annotate import Annotator

_MOST_WAITING = 16  # frames to draw; scoring then waits for them


@dataclass(frozen=True)
class _Drawing:
    """What is drawn of a frame; without its cubes, which are large."""

    live: LiveFrame
    boxes: np.ndarray
    cube_scores: np.ndarray
    score: float | None
    lost: int  # frames dropped before this one


class LivePictures:
    """Draws frames in a thread of its own and passes the pictures on.

    Args:
        name: of the camera.
        annotator: draws.
        files: gets each picture, if it has a video; new parts are begun through this object.
        clips, state: get each picture, where there are such.
    """

    def __init__(
        self,
        name: str,
        annotator: Annotator,
        files: LiveResultFiles,
        clips: ClipRecorder | None,
        state: LiveState | None,
    ) -> None:
        self._name, self._annotator = name, annotator
        self._files, self._clips, self._state = files, clips, state
        self._is_needed = files.has_video or clips is not None or state is not None
        self._last = -1  # number of the last frame
        self._worker = Worker("pictures", _MOST_WAITING)

    def add(self, scored: ScoredFrame) -> None:
        """Have a frame drawn.

        Raises:
            OSError, UserError: one before could not be written.
        """
        live = scored.live
        lost, self._last = live.index - self._last - 1, live.index
        if not self._is_needed:
            return
        boxes = scored.cubes.boxes
        drawing = _Drawing(live, boxes, scored.cube_scores, scored.score, lost)
        self._worker.do(lambda: self._draw(drawing))

    def roll(self) -> None:
        """Begin the next part of all files, once all frames before are in this one."""
        self._worker.wait()
        self._files.roll()

    def close(self) -> None:
        """Draw what waits, and end."""
        self._worker.finish()

    def _draw(self, drawing: _Drawing) -> None:
        live = drawing.live
        caption = f"{self._name}  frame {live.index}  {time_text(live.clock)}"
        drawn = self._annotator.draw(
            live.frame, drawing.boxes, drawing.cube_scores, drawing.score, caption, drawing.lost
        )
        self._files.picture(drawn)
        if self._clips is not None:
            self._clips.picture(live.clock, drawn)
        if self._state is not None:
            self._state.show(drawn, live.index, live.clock, drawing.score)
