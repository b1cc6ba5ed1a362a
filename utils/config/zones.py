"""Zones of the frame as polygons: a list of corners, in pixels or in shares of the frame."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

_FARTHEST = 2**16  # pixels; drawing takes minutes where a corner is beyond 2^31
Corner = Annotated[
    list[Annotated[float, Field(ge=0, le=_FARTHEST, allow_inf_nan=False)]],
    Field(min_length=2, max_length=2),
]
_SMALLEST = 1e-6  # of the frame, or square pixels: a zone that is a line holds nothing


def is_in_shares(zone: list[list[float]]) -> bool:
    """Whether the corners are shares of the frame's width and height: all are 1 at most."""
    return max(value for corner in zone for value in corner) <= 1


def _require_area(zone: list[list[float]]) -> list[list[float]]:
    ahead = [*zone[1:], zone[0]]
    pairs = zip(zone, ahead, strict=True)
    area = abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2
    if area < (_SMALLEST if is_in_shares(zone) else 4):
        raise ValueError(
            "the polygon has no area; corners are [x, y] in pixels, or all between 0 and 1 as "
            "shares of the frame's width and height, in their order along the outline"
        )
    return zone


Zone = Annotated[list[Corner], Field(min_length=3), AfterValidator(_require_area)]
