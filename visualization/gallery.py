"""What a report shows, and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.highlights import (
    Highlight,
    false_alarms,
    misses,
    raised_alarms,
    video_peaks,
    videos_worst_first,
)
from visualization.thumbnails import CubePictures, cube_pictures, frame_with_box

Place = tuple[str, int]  # name of a video, frame in it
Explain = Callable[[np.ndarray], Mapping[str, Any]]
Stills = Callable[[Iterable[Place]], Iterable[tuple[Place, np.ndarray]]]
_WORST = 8  # false alarms and misses shown
_MANY_VIDEOS = 40  # from here on fewer peaks a video, to keep the file small
MOST_PEAKS = 3  # of a video
MOST_ALARMS = 24
_BATCH = 64


@dataclass(frozen=True)
class Highlights:
    """What a report shows: worst false alarms, misses, peaks of each video; alarms of watched ones.

    False alarms and misses need labels.
    """

    false_alarms: list[Highlight]
    misses: list[Highlight]
    peaks: dict[int, list[Highlight]]
    alarms: list[Highlight] = field(default_factory=list)

    def all(self) -> list[Highlight]:
        """All of them; some stand for several."""
        return [
            *self.false_alarms,
            *self.misses,
            *self.alarms,
            *(m for each in self.peaks.values() for m in each),
        ]


def choose_highlights(evaluation: Evaluation) -> Highlights:
    """What the report shows."""
    order = videos_worst_first(evaluation)
    count = MOST_PEAKS if len(order) <= _MANY_VIDEOS else MOST_PEAKS - 1
    return Highlights(
        false_alarms(evaluation, _WORST),
        misses(evaluation, _WORST),
        {video: video_peaks(evaluation, video, count) for video in order},
        raised_alarms(evaluation, MOST_ALARMS),
    )


@dataclass(frozen=True)
class Gallery:
    """Pictures of the highlights, as far as there are any.

    Attributes:
        cubes: cube index -> its pictures.
        stills: (video name, frame, cube index or ``None``) -> JPEG of the frame with its box.
    """

    cubes: Mapping[int, CubePictures] = field(default_factory=dict)
    stills: Mapping[tuple[str, int, int | None], bytes] = field(default_factory=dict)


def make_gallery(
    evaluation: Evaluation,
    highlights: Highlights,
    explain: Explain | None,
    stills: Stills,
) -> Gallery:
    """Draw the pictures of the highlights.

    Args:
        explain: maps cube indices (k,) to what ``cube_pictures`` reads of each, arrays (k, ...);
            ``None``: no pictures of cubes.
        stills: maps (video name, frame) pairs to those pairs with their frames (H,W,3) uint8 BGR,
            as far as it can read them.
    """
    chosen = highlights.all()
    cubes = np.unique(
        [highlight.cube for highlight in chosen if highlight.cube is not None]
    ).astype(int)
    drawn: dict[int, CubePictures] = {}
    for start in range(0, len(cubes), _BATCH) if explain else ():
        batch = cubes[start : start + _BATCH]
        assert explain is not None
        shown = {name: np.asarray(values) for name, values in explain(batch).items()}
        for row, cube in enumerate(batch.tolist()):
            drawn[cube] = cube_pictures({name: values[row] for name, values in shown.items()})
    return Gallery(drawn, _draw_stills(evaluation, chosen, stills))


def _draw_stills(
    evaluation: Evaluation,
    chosen: Sequence[Highlight],
    stills: Stills,
) -> dict[tuple[str, int, int | None], bytes]:
    videos, boxes = evaluation.cubes.videos, evaluation.cubes.boxes
    cubes_of: dict[Place, set[int | None]] = {}
    for highlight in chosen:
        cubes_of.setdefault((videos[highlight.video], highlight.frame), set()).add(highlight.cube)
    return {
        (*place, cube): frame_with_box(
            frame, None if cube is None or boxes is None else boxes[cube]
        )
        for place, frame in stills(cubes_of)
        for cube in cubes_of[place]
    }
