"""Single frames out of a data set's videos."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import numpy as np

from datasets.manifest import DataSet, VideoEntry
from datasets.videos import read_frames
from utils.errors import UserError

logger = logging.getLogger(__name__)


def read_stills(
    dataset: DataSet, split: str, pairs: Iterable[tuple[str, int]]
) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
    """Read some frames, each video once and no further than needed.

    Videos that cannot be read are left out with a warning: their cubes may have outlived them.

    Args:
        pairs: (video name, frame index), in any order.

    Yields:
        The pair and its frame (H,W,3) uint8 BGR.
    """
    by_video: dict[str, set[int]] = {}
    for name, frame in pairs:
        by_video.setdefault(name, set()).add(frame)
    for entry in dataset.videos(split):
        missing = by_video.get(entry.name, set())
        try:
            # Frames are decoded one after the other: seeking is inexact in many containers.
            with closing(_generator(entry)) as frames:
                for index, picture in enumerate(frames) if missing else ():
                    if index in missing:
                        yield (entry.name, index), picture
                        missing.discard(index)
                        if not missing:
                            break
        except UserError as error:
            logger.warning("no stills of video %s: %s", entry.name, error)


def _generator(entry: VideoEntry) -> Generator[np.ndarray, None, None]:
    yield from read_frames(entry)
