"""How many pictures a second a camera really gives: what it declares is often made up."""

from __future__ import annotations

import time

from inference.live.frame_buffer import Camera

_SETTLING, _MEASURED = 1.0, 2.0  # seconds; a server first sends at once what it has kept
_FEWEST = 4  # pictures that tell a rate


def arrival_rate(
    camera: Camera, settling: float = _SETTLING, measured: float = _MEASURED
) -> float | None:
    """Pictures a second by the clock; those read for it are gone.

    Args:
        camera: just opened.
        settling: seconds that do not count.
        measured: seconds that are measured, about.

    Returns:
        The rate; ``None`` where the camera broke off or gave too few pictures.
    """
    began = time.monotonic()
    arrivals: list[float] = []
    while not arrivals or arrivals[-1] - began < settling + measured:
        if not camera.read()[0]:
            return None
        arrivals.append(time.monotonic())
    counted = [each for each in arrivals if each - began >= settling]
    if len(counted) < _FEWEST:
        return None
    return (len(counted) - 1) / (counted[-1] - counted[0])
