"""Where crops are: centre and corners, then the mirror images of these five; or a grid of nine."""

from __future__ import annotations

from typing import NamedTuple


class Crop(NamedTuple):
    """A window of a frame, in pixels, and whether it is mirrored left to right afterwards."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def crop_windows(
    height: int, width: int, crop_height: int, crop_width: int, crops: int
) -> list[Crop]:
    """The windows of a frame of ``height`` x ``width``; 1 crop: the centre only; 9: a grid."""
    down, right = height - crop_height, width - crop_width
    if crops == 9:
        tops, lefts = (0, down // 2, down), (0, right // 2, right)
        return [Crop(top, left, crop_height, crop_width, False) for top in tops for left in lefts]
    corners = [(down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right)]
    five = [Crop(top, left, crop_height, crop_width, False) for top, left in corners]
    ten = five + [crop._replace(mirrored=True) for crop in five]
    return ten[:crops]
