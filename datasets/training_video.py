"""Frame size and rate of the training videos, which checkpoints keep to compare new videos with."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from typing import Any

from datasets.manifest import FILE_NAME, VideoEntry, load_dataset
from datasets.rates import frame_rate
from utils.errors import UserError

logger = logging.getLogger(__name__)

RATE_TOLERANCE = 0.1  # share by which rates may differ and still be taken for the same
_SAMPLED = 8  # videos whose rate is looked at


def describe_training_video(config: Any) -> dict[str, Any] | None:
    """What the training videos look like.

    The rate is read from the video files where they are still there. Images have none: then it is
    ``data.fps``, where the configuration says it.

    Args:
        config: the whole configuration; its ``data.folder`` is a prepared data set.

    Returns:
        ``width`` and ``height`` in pixels (0 where the videos differ), ``fps`` (0: not known),
        ``max_side`` where larger frames were made smaller; ``None`` without a data set there.
    """
    if not (config.data.folder / FILE_NAME).is_file():
        return None
    dataset = load_dataset(config.data.folder)
    entries = dataset.videos("training")
    sizes = {(entry.width, entry.height) for entry in entries}
    width, height = sizes.pop() if len(sizes) == 1 else (0, 0)
    measured = _measured_rate(entries)
    stated = config.data.fps if "fps" in config.data.model_fields_set else 0.0
    if measured and abs(config.data.fps - measured) > RATE_TOLERANCE * measured:
        logger.warning(
            "data.fps is %g, and the training videos have %.4g frames per second: alarms per hour "
            "and times are wrong by that factor; set data.fps=%.4g",
            config.data.fps,
            measured,
            measured,
        )
    sized = {"max_side": dataset.max_side} if dataset.max_side else {}
    return {"width": width, "height": height, "fps": measured or stated, **sized}


def _measured_rate(entries: Sequence[VideoEntry]) -> float:
    rates = []
    for entry in entries[:_SAMPLED]:
        try:
            rates.append(frame_rate(entry, 0.0))
        except UserError:  # moved or removed since the cubes were made
            continue
    known = [rate for rate in rates if rate > 0]
    return float(statistics.median(known)) if known else 0.0
