"""Draw scores onto frames: boxes coloured by score, and the score of the frame as a curve."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from visualization.zone_overlay import ZoneOverlay

# From calm to alarming, distinguishable for colour-blind viewers; BGR.
_STOPS = np.array([[190, 130, 60], [60, 200, 235], [40, 40, 225]], np.float64)
_PAPER, _GRID, _INK, _FAINT = (34, 30, 26), (78, 72, 66), (235, 232, 228), (170, 160, 150)
_STRIP = 80  # height of the curve below the picture, pixels
_SMALLEST_WIDTH = 480  # smaller videos are enlarged, so that text can be read
_SHADES = 16  # colours of the curve, less one
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class ScoreScale:
    """Which scores look calm and which alarming.

    Attributes:
        calm: a score shown in the first colour and at the foot of the curve.
        alarming: a score shown in the last colour, such as the threshold.
    """

    calm: float
    alarming: float

    def level(self, score: Any) -> Any:
        """0 at ``calm``, 1 at ``alarming``; not limited; of a score or an array of them."""
        return (score - self.calm) / max(self.alarming - self.calm, 1e-9)

    def colour(self, score: float) -> tuple[int, int, int]:
        """BGR colour of a score."""
        return _mixed(self.level(score))


class Annotator:
    """Draws the frames of one video, in order.

    Args:
        scale: colours and the height of the curve.
        threshold: drawn as a line; scores at or above it are alarms. ``None``: no alarms.
        length: frames that the curve shows; it remembers no more.
        zones: drawn on every frame, if there are any.
    """

    def __init__(
        self,
        scale: ScoreScale,
        threshold: float | None,
        length: int = 300,
        zones: ZoneOverlay | None = None,
    ) -> None:
        self._scale, self._zones = scale, zones
        self._threshold = threshold
        self._recent: deque[float] = deque(maxlen=length)

    def draw(
        self,
        frame: np.ndarray,
        boxes: np.ndarray,
        box_scores: Sequence[float] | np.ndarray,
        score: float | None,
        caption: str,
        lost: int = 0,
    ) -> np.ndarray:
        """Draw one frame.

        Args:
            frame: (H,W,3) uint8 BGR; it is not changed.
            boxes: (n,4) x1,y1,x2,y2 in pixels.
            box_scores: n scores of the boxes.
            score: smoothed score of the frame; ``None`` while there is none.
            caption: shown in the corner.
            lost: frames that were dropped just before this one: a gap in the curve.

        Returns:
            (H',W',3) uint8, the enlarged frame with the curve below it; sides even.
        """
        self._recent.extend([math.nan] * min(lost, self._recent.maxlen or 0))
        self._recent.append(math.nan if score is None else score)
        factor = max(1, math.ceil(_SMALLEST_WIDTH / frame.shape[1]))
        height, width = (side * factor - side * factor % 2 for side in frame.shape[:2])
        canvas = np.empty((height + _STRIP, width, 3), np.uint8)
        picture = canvas[:height]
        cv2.resize(frame, (width, height), dst=picture, interpolation=cv2.INTER_LINEAR)
        if self._zones is not None:
            self._zones.draw(picture, frame.shape[1], frame.shape[0])
        order = np.argsort(box_scores)  # the highest on top
        for place in order.tolist():
            self._draw_box(picture, boxes[place] * factor, float(box_scores[place]))
        is_alarm = score is not None and self._threshold is not None and score >= self._threshold
        if is_alarm:
            cv2.rectangle(picture, (0, 0), (width - 1, height - 1), _as_colour(_STOPS[2]), 6)
        _write(picture, caption, (10, 22), _INK)
        self._draw_curve(canvas[height:], score, is_alarm)
        return canvas

    def _draw_box(self, picture: np.ndarray, box: np.ndarray, score: float) -> None:
        left, top, right, bottom = np.rint(box).astype(int).tolist()
        colour = self._scale.colour(score)
        thickness = 1 if self._scale.level(score) < 0.5 else 2
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
        if thickness > 1:
            _write(picture, f"{score:.1f}", (left, max(12, top - 4)), colour)

    def _draw_curve(self, strip: np.ndarray, score: float | None, is_alarm: bool) -> None:
        strip[:] = _PAPER
        height, width = strip.shape[:2]
        levels = self._scale.level(np.array(self._recent))
        step = (width - 1) / ((self._recent.maxlen or 1) - 1)
        columns = width - 1 - step * np.arange(len(levels))[::-1]
        rows = _rows(levels, height)
        if self._threshold is not None:
            row = int(_rows(self._scale.level(self._threshold), height))
            cv2.line(strip, (0, row), (width, row), _GRID, 1)
        _draw_line(strip, columns, rows, levels)
        text = "score -" if score is None else f"score {score:.2f}"
        _write(strip, text, (10, 18), _INK)
        if is_alarm:
            _write(strip, "ALARM", (130, 18), _as_colour(_STOPS[2]))
        elif self._threshold is not None:
            _write(strip, f"alarm from {self._threshold:.2f}", (130, 18), _FAINT)


def _rows(levels: Any, height: int) -> np.ndarray:
    """Where levels lie in a strip so high: an alarming score at two thirds, all inside it."""
    return np.clip((height - 6) - levels * (height - 12) * 2 / 3, 3, height - 4)


def _draw_line(
    strip: np.ndarray, columns: np.ndarray, rows: np.ndarray, levels: np.ndarray
) -> None:
    """A line through the points in the colours of their levels, broken where one is NaN.

    Colours are rounded to a few, so that a run of points of one colour is one call: three hundred
    calls a frame took as long as all else that is drawn.
    """
    known = np.isfinite(levels)
    shades = np.rint(_SHADES * np.clip(np.where(known, levels, 0), 0, 1)).astype(int)
    points = np.rint(np.stack([columns, np.where(known, rows, 0)], axis=1)).astype(np.int32)
    is_drawn = known[1:] & known[:-1]  # the line to each point but the first
    changes = np.flatnonzero((np.diff(shades[1:]) != 0) | (np.diff(is_drawn) != 0)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(is_drawn)]):
        if stop > start and is_drawn[start]:
            colour = _mixed(shades[stop] / _SHADES)
            cv2.polylines(strip, [points[start : stop + 1]], False, colour, 2, cv2.LINE_AA)


def _mixed(level: float) -> tuple[int, int, int]:
    """BGR colour of a level, 0 calm to 1 alarming."""
    place = 2 * min(max(level, 0.0), 1.0)
    first = min(int(place), 1)
    return _as_colour(
        np.rint(_STOPS[first] + (place - first) * (_STOPS[first + 1] - _STOPS[first]))
    )


def _write(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple) -> None:
    """Text on a dark plate, readable on any ground."""
    (width, height), below = cv2.getTextSize(text, _FONT, 0.5, 1)
    left, base = place
    plate = picture[max(0, base - height - 2) : base + below, max(0, left - 3) : left + width + 3]
    plate[:] = plate // 4
    cv2.putText(picture, text, place, _FONT, 0.5, colour, 1, cv2.LINE_AA)


def _as_colour(bgr: np.ndarray) -> tuple[int, int, int]:
    blue, green, red = bgr.astype(int).tolist()
    return blue, green, red
