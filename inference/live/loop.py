"""Watch a camera, a stream or a video as it comes, until it ends or a signal stops it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from evaluation.calibration import Rate
from evaluation.scores import error_names
from inference.live.ahead import FramesAhead
from inference.live.frame_buffer import FrameBuffer
from inference.live.scorer import LiveScorer
from inference.live.writer import LiveSettings, LiveWriter
from inference.predictor import Predictor
from utils.console import echo
from utils.errors import UserError
from utils.run_folder import StopSignal
from utils.runtime import old_objects_set_aside
from visualization.reasons import why

_MOST_AT_ONCE = 8  # waiting frames that are scored as one batch


def watch_live(
    predictor: Predictor,
    frames: FrameBuffer,
    threshold_spec: float | Rate | None,
    output: Path,
    name: str,
    settings: LiveSettings,
) -> None:
    """Score frames until there are no more, or SIGTERM or Ctrl-C; all output is whole then.

    Args:
        predictor: from ``load_predictor``.
        frames: from ``open_live``; closed at the end.
        threshold_spec: see ``Predictor.threshold``.
        output: folder of the results.
        name: of the camera, for tables.

    Raises:
        UserError: the camera went away for good; what was written until then is whole, too.
    """
    threshold = predictor.threshold(threshold_spec, frames.fps)
    if threshold is None:
        echo("no threshold, so no alarms: the checkpoint has none for this score; pass --threshold")
    scorer = predictor.live_scorer()
    out = LiveWriter(
        output, name, frames, threshold, predictor.annotator(threshold),
        error_names(predictor.checkpoint["statistics"]), predictor.smoothing.size,
        predictor.explain, lambda errors: why(predictor.rule, errors), settings,
    )  # fmt: skip
    ahead = FramesAhead(frames, predictor.live_extractor())
    try:
        with old_objects_set_aside():
            _score_until_stopped(scorer, ahead, frames.max_delay, out)
            for scored in scorer(ahead.close()):
                out.add(scored)
    except BaseException:  # what ended the run is reported, not what its end met
        ahead.close()
        frames.close()
        with contextlib.suppress(OSError, UserError):
            out.close()
        raise
    frames.close()
    out.close()


def _score_until_stopped(
    scorer: LiveScorer, frames: FramesAhead, max_delay: float, out: LiveWriter
) -> None:
    at_once = 1
    with StopSignal() as stop:
        while not stop.received:
            taken = frames.take(at_once, timeout=0.5)
            if taken is None:
                return
            began = time.monotonic()
            for scored in scorer(taken):
                out.add(scored)
            spent = time.monotonic() - began
            # Crowded frames take longer than empty ones, so this grows slowly and falls at once.
            at_once = min(2 * at_once, _affordable(spent, len(taken), max_delay))
            out.tick()


def _affordable(seconds: float, num_frames: int, max_delay: float) -> int:
    """How many frames to score at once without delaying the first of them much for the last."""
    if not num_frames:
        return 1
    each = max(seconds / num_frames, 1e-6)
    return int(min(max(0.25 * max_delay / each, 1), _MOST_AT_ONCE))
