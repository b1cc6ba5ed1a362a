"""From live frames to scores, strictly in the order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.scoring.network import CubeScorer
from evaluation.scores import Errors, ScoreRule, collect_errors
from evaluation.smoothing import CausalSmoother, Smoothing
from inference.live.frame_buffer import LiveFrame
from inference.video_cubes import join_cubes
from pre_process.cubes.extractor import CubeExtractor, FrameCubes

WithCubes = tuple[LiveFrame, FrameCubes]


@dataclass(frozen=True)
class ScoredFrame:
    """A live frame and what became of it.

    Attributes:
        live: the frame.
        cubes: its n cubes; errors: their errors, each (n,); cube_scores: (n,).
        score: smoothed score of the frame; ``None``, and no cube, while a new history fills.
        is_whole: the frame is scored as a whole and has no cubes.
    """

    live: LiveFrame
    cubes: FrameCubes
    errors: Errors
    cube_scores: np.ndarray
    score: float | None
    is_whole: bool = False


class LiveExtractor:
    """Cubes of frames as they come; it remembers five frames.

    Args:
        extractor: with batch size 1. Where moving regions are on, it gives cubes one frame late.
    """

    def __init__(self, extractor: CubeExtractor) -> None:
        self._extractor = extractor
        self._waiting: deque[LiveFrame] = deque()  # inside the extractor

    def push(self, frames: Sequence[LiveFrame]) -> list[WithCubes]:
        """Take the next frames; give those that are ready."""
        ready: list[FrameCubes] = []
        for live in frames:
            if live.gap:
                ready += self._extractor.flush()
            if live.gap == "reconnected":
                self._extractor.start()
            elif live.gap:
                self._extractor.skip()
            self._waiting.append(live)
            ready += self._extractor.push(live.frame)
        return [(self._waiting.popleft(), cubes) for cubes in ready]

    def finish(self) -> list[WithCubes]:
        """Give the frames that still wait for the one after them."""
        return [(self._waiting.popleft(), cubes) for cubes in self._extractor.flush()]


class LiveScorer:
    """Scores frames in their order; it remembers one smoothing window.

    A score depends on nothing later than its frame, except that moving regions, where the
    configuration has them on, need the frame after it: scores then come one frame late.

    The first ``trim`` frames, and as many behind lost ones, fill the history and are not scored.
    The smoothing window outlives lost frames; a reconnected camera begins a new one.

    Args:
        scorer: errors of cubes; all frames given at once are scored in one batch.
        rule, smoothing: from errors to frame scores; the smoothing window ends at the frame.
    """

    def __init__(self, scorer: CubeScorer, rule: ScoreRule, smoothing: Smoothing) -> None:
        self._scorer = scorer
        self._rule = rule
        self._smoother = CausalSmoother(smoothing.size)
        self._trim = self._filling = smoothing.trim

    def __call__(self, ready: Sequence[WithCubes]) -> list[ScoredFrame]:
        """Score the next frames."""
        frames = [self._admit(*each) for each in ready]
        filled = [cubes for _, cubes in frames if cubes is not None and len(cubes.boxes)]
        errors: Errors = {}
        if filled:
            errors = collect_errors([join_cubes(filled)], lambda batch: self._scorer(*batch))
        scored, first = [], 0
        for live, cubes in frames:
            count = 0 if cubes is None else len(cubes.boxes)
            part = {name: each[first : first + count] for name, each in errors.items()}
            first += count
            scored.append(self._finish_frame(live, cubes, part))
        return scored

    def _admit(self, live: LiveFrame, cubes: FrameCubes) -> tuple[LiveFrame, FrameCubes | None]:
        """The frame with its cubes, or without them while the history fills."""
        if live.gap:
            self._filling = self._trim
        if not self._filling:
            return live, cubes
        self._filling -= 1
        return live, None

    def _finish_frame(
        self, live: LiveFrame, cubes: FrameCubes | None, errors: Errors
    ) -> ScoredFrame:
        if live.gap == "reconnected":
            self._smoother.restart()
        if cubes is None:
            return ScoredFrame(live, _no_cubes(live.index), {}, np.zeros(0), None)
        has_cubes = len(cubes.boxes) > 0
        cube_scores = self._rule(errors) if has_cubes else np.zeros(0)
        raw = float(cube_scores.max()) if has_cubes else self._rule.zero_error_score
        return ScoredFrame(live, cubes, errors, cube_scores, self._smoother.push(raw))


def _no_cubes(index: int) -> FrameCubes:
    empty = np.zeros((0, 4), np.float32)
    return FrameCubes(index, empty, empty, empty)
