"""The few frames and cubes that a report may show, kept while a video passes."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from evaluation.alarms import Alarm
from evaluation.highlights import peak_distance
from evaluation.smoothing import Smoothing
from inference.single_pass import ScoredFrame
from inference.video_cubes import KeptFrame, VideoResult
from visualization.gallery import MOST_ALARMS, MOST_PEAKS, Highlights

Explain = Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]
_QUALITY = 95  # of the JPEGs in which pictures are kept


class PictureKeeper:
    """Of a video the frames of the highest smoothed scores, with the cubes behind them.

    A report shows at most ``MOST_PEAKS`` peaks of a video, ``peak_distance`` apart: each that is
    chosen rules out so many frames around it, so as many of the highest are kept as can be chosen
    or ruled out (for 17 frames of smoothing 71, about 5 MB, whatever the length of the video).

    Args:
        smoothing: of the scores.
    """

    def __init__(self, smoothing: Smoothing) -> None:
        self._half = smoothing.size // 2
        self._most = (MOST_PEAKS - 1) * (2 * peak_distance(smoothing) + 1) + 1
        self._heap: list[tuple[float, int, KeptFrame]] = []
        self._alarms: dict[int, tuple[float, KeptFrame]] = {}  # by first frame
        self._recent: deque[tuple[ScoredFrame, int]] = deque(maxlen=2 * self._half + 1)

    def push(self, frame: ScoredFrame, first_cube: int) -> None:
        """Take a frame; ``first_cube``: number of its first cube among those of the video."""
        self._recent.append((frame, first_cube))

    def consider(self, index: int, smoothed: float, alarm: Alarm | None = None) -> None:
        """The smoothed score of a frame is known; the frames around it were pushed before.

        Args:
            index: of the frame.
            smoothed: its score.
            alarm: the one that the frame belongs to, as far as is known by now.
        """
        if alarm is not None and alarm.peak == index:
            self._keep_peak(alarm)
        is_full = len(self._heap) == self._most
        if is_full and (smoothed, -index) <= self._heap[0][:2]:
            return
        candidate = self._highest_near(index)
        if candidate is not None:
            place = heapq.heappushpop if is_full else heapq.heappush
            place(self._heap, (smoothed, -index, candidate))

    def kept(self) -> list[KeptFrame]:
        """All frames that are kept, each once."""
        kept = [candidate for _, _, candidate in self._heap]
        kept += [candidate for _, candidate in self._alarms.values()]
        return list({candidate.cube: candidate for candidate in kept}.values())

    def _keep_peak(self, alarm: Alarm) -> None:
        """The picture of an alarm's peak, for the highest alarms of the video."""
        candidate = self._highest_near(alarm.peak)
        if candidate is None:
            return
        self._alarms[alarm.start] = alarm.score, candidate
        if len(self._alarms) > MOST_ALARMS:
            del self._alarms[min(self._alarms, key=lambda start: self._alarms[start][0])]

    def _highest_near(self, index: int) -> KeptFrame | None:
        near = [
            (frame, first)
            for frame, first in self._recent
            if abs(frame.index - index) <= self._half and len(frame.cube_scores)
        ]
        if not near:
            return None
        frame, first = max(near, key=lambda pair: pair[0].cube_scores.max())
        row = int(frame.cube_scores.argmax())
        picture = cv2.imencode(".jpg", frame.picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        return KeptFrame(
            first + row,
            frame.index,
            frame.cubes.appearance[row].copy(),
            frame.cubes.motion[row].copy(),
            picture.tobytes(),
        )


class KeptPictures:
    """What was kept of all videos, by the cubes' numbers among those of all.

    Args:
        results: the videos, in the order of their cubes.
        explain: maps appearance and motion of cubes to what is shown of them.
    """

    def __init__(self, results: Sequence[VideoResult], explain: Explain) -> None:
        self._explain = explain
        self._cubes: dict[int, KeptFrame] = {}
        self._frames: dict[tuple[str, int], bytes] = {}
        first = 0
        for result in results:
            for each in result.kept:
                self._cubes[first + each.cube] = each
                self._frames[result.name, each.frame] = each.picture
            first += len(result.frames)

    def shown(self, highlights: Highlights) -> Highlights:
        """The highlights whose pictures are here."""
        peaks = {
            video: [peak for peak in each if peak.cube in self._cubes]
            for video, each in highlights.peaks.items()
        }
        alarms = [alarm for alarm in highlights.alarms if alarm.cube in self._cubes]
        return Highlights(highlights.false_alarms, highlights.misses, peaks, alarms)

    def explain(self, indices: np.ndarray) -> Mapping[str, Any]:
        """What the model expected of cubes (k,); see ``engine.scoring.explain``."""
        cubes = [self._cubes[index] for index in indices.tolist()]
        appearance = np.stack([cube.appearance for cube in cubes])
        return self._explain(appearance, np.stack([cube.motion for cube in cubes]))

    def stills(
        self, places: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Frames of (video, frame) pairs; see ``datasets.stills.read_stills``."""
        for place in places:
            if place in self._frames:
                content = np.frombuffer(self._frames[place], np.uint8)
                yield place, np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
