"""A video from its first frame to its last, decoded once: cubes, errors, scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.video_files import TimedFrame
from evaluation.scores import Errors, collect_errors
from evaluation.smoothing import Smoothing
from inference.fitting import Recording, read_recording
from inference.predictor import Predictor
from inference.video_cubes import join_cubes
from pre_process.cubes.extractor import FrameCubes
from utils.threads.read_ahead import read_ahead

FRAMES_AT_ONCE = 8  # handed to detector and flow
MOST_WAITING = 16  # frames that wait to be scored, so that few pictures are held


@dataclass(frozen=True)
class ScoredFrame:
    """One frame and all that is known of it.

    Attributes:
        index: in the video; seconds: when it begins; picture: (H,W,3) uint8 BGR.
        cubes: of the frame, n of them; errors: of the cubes, each (n,).
        cube_scores: (n,); score: the largest of them, or that of a cube without error.
    """

    index: int
    seconds: float
    picture: np.ndarray
    cubes: FrameCubes
    errors: Errors
    cube_scores: np.ndarray
    score: float


def score_frames(
    predictor: Predictor, recording: Recording, names: Sequence[str]
) -> Iterator[ScoredFrame]:
    """Decode a video and score its frames, in order.

    Args:
        predictor: from ``load_predictor``.
        recording: the video.
        names: of the errors.

    Raises:
        UnreadableVideo: it cannot be read to its end.
        UserError: an error that is not finite.
    """
    waiting: list[tuple[TimedFrame, FrameCubes]] = []
    num_cubes = 0
    for frame in read_ahead(_extract(predictor, recording), MOST_WAITING):
        waiting.append(frame)
        num_cubes += len(frame[1].boxes)
        if len(waiting) >= MOST_WAITING or num_cubes >= predictor.config.eval.batch_size:
            yield from _score(predictor, waiting, names)
            waiting, num_cubes = [], 0
    yield from _score(predictor, waiting, names)


def _extract(predictor: Predictor, recording: Recording) -> Iterator[tuple[TimedFrame, FrameCubes]]:
    """The frames of a video with their cubes."""
    extractor = predictor.extractor(FRAMES_AT_ONCE)
    extractor.start()
    frames: deque[TimedFrame] = deque()
    for frame in read_recording(recording):
        frames.append(frame)
        yield from ((frames.popleft(), cubes) for cubes in extractor.push(frame.picture))
    yield from ((frames.popleft(), cubes) for cubes in extractor.flush())


def _score(
    predictor: Predictor, frames: Sequence[tuple[TimedFrame, FrameCubes]], names: Sequence[str]
) -> Iterator[ScoredFrame]:
    filled = [cubes for _, cubes in frames if len(cubes.boxes)]
    errors: Errors = {name: np.zeros(0) for name in names}
    if filled:
        errors = collect_errors([join_cubes(filled)], lambda batch: predictor.scorer(*batch))
    start = 0
    for timed, cubes in frames:
        stop = start + len(cubes.boxes)
        own = {name: values[start:stop] for name, values in errors.items()}
        scores = np.asarray(predictor.rule(own)) if stop > start else np.zeros(0)
        score = float(scores.max()) if stop > start else predictor.rule.zero_error_score
        yield ScoredFrame(cubes.index, timed.seconds, timed.picture, cubes, own, scores, score)
        start = stop


class StreamedMedian:
    """``Smoothing`` with a centred median, frame by frame, as far as the frames behind are known.

    Args:
        smoothing: its ``trim`` first frames have no smoothed score.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._trim, self._half = smoothing.trim, smoothing.size // 2
        self._scores: deque[float] = deque([0.0] * self._half, 2 * self._half + 1)
        self._pushed = 0

    def push(self, score: float) -> list[float | None]:
        """Take a frame's score; give the smoothed scores that it completes, in order."""
        self._pushed += 1
        if self._pushed <= self._trim:
            return [None]
        return self._take(score) if self._pushed > self._trim + self._half else self._wait(score)

    def finish(self) -> list[float | None]:
        """The smoothed scores of the last frames; zeros stand behind them, as in ``medfilt``."""
        smoothed: list[float | None] = []
        missing = min(self._half, max(self._pushed - self._trim, 0))
        if self._pushed - self._trim < self._half:
            for _ in range(self._half - max(self._pushed - self._trim, 0)):
                self._scores.append(0.0)
        for _ in range(missing):
            smoothed += self._take(0.0)
        return smoothed

    def _wait(self, score: float) -> list[float | None]:
        self._scores.append(score)
        return []

    def _take(self, score: float) -> list[float | None]:
        self._scores.append(score)
        return [float(np.median(self._scores))]
