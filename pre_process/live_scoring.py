"""From live frames to scores, strictly in the order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pre_process.cube_scorers import CubeScorer
from pre_process.live_frames import LiveFrame
from pre_process.stream_cubes import join_cubes
from pre_process.streaming import CubeExtractor, FrameCubes
from utils.causal import CausalSmoother
from utils.scoring import Errors, ScoreRule, Smoothing, collect_errors


@dataclass(frozen=True)
class ScoredFrame:
    """A live frame and what became of it.

    Attributes:
        live: the frame.
        cubes: its n cubes; errors: their errors, each (n,); cube_scores: (n,).
        score: smoothed score of the frame; ``None`` while a new history fills.
    """

    live: LiveFrame
    cubes: FrameCubes
    errors: Errors
    cube_scores: np.ndarray
    score: float | None


class LiveScorer:
    """Scores frames as they come; it remembers one smoothing window and five frames.

    A score depends on nothing later than its frame, except that moving regions, where the
    configuration has them on, need the frame after it: scores then come one frame late.

    Args:
        extractor: with batch size 1.
        scorer: errors of cubes; all frames given at once are scored in one batch.
        rule, smoothing: from errors to frame scores; the smoothing window ends at the frame.
    """

    def __init__(
        self, extractor: CubeExtractor, scorer: CubeScorer, rule: ScoreRule, smoothing: Smoothing
    ) -> None:
        self._extractor = extractor
        self._scorer = scorer
        self._rule = rule
        self._smoother = CausalSmoother(smoothing)
        self._waiting: deque[LiveFrame] = deque()  # inside the extractor
        self._shape: tuple[int, ...] | None = None

    def push(self, frames: Sequence[LiveFrame]) -> list[ScoredFrame]:
        """Take the next frames; give those whose scores are ready."""
        ready: list[FrameCubes] = []
        for live in frames:
            is_other_picture = self._shape not in (None, live.frame.shape)
            if live.gap or is_other_picture:
                ready += self._extractor.flush()
            if live.gap == "reconnected" or is_other_picture:
                self._extractor.start()
            elif live.gap:
                self._extractor.skip()
            self._shape = live.frame.shape
            self._waiting.append(live)
            ready += self._extractor.push(live.frame)
        return self._score(ready)

    def finish(self) -> list[ScoredFrame]:
        """Give the frames that still wait for the one after them."""
        return self._score(self._extractor.flush())

    def _score(self, ready: Sequence[FrameCubes]) -> list[ScoredFrame]:
        filled = [cubes for cubes in ready if len(cubes.boxes)]
        errors: Errors = {}
        if filled:
            errors = collect_errors([join_cubes(filled)], lambda batch: self._scorer(*batch))
        scored, first = [], 0
        for cubes in ready:
            part = {name: each[first : first + len(cubes.boxes)] for name, each in errors.items()}
            first += len(cubes.boxes)
            scored.append(self._finish_frame(self._waiting.popleft(), cubes, part))
        return scored

    def _finish_frame(self, live: LiveFrame, cubes: FrameCubes, errors: Errors) -> ScoredFrame:
        if live.gap:
            self._smoother.restart()
        has_cubes = len(cubes.boxes) > 0
        cube_scores = self._rule(errors) if has_cubes else np.zeros(0)
        raw = float(cube_scores.max()) if has_cubes else self._rule.zero_error_score
        return ScoredFrame(live, cubes, errors, cube_scores, self._smoother.push(raw))
