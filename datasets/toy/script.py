"""Who is in a video of the toy scene and when, and who misbehaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.toy.people import (
    LANES,
    WIDTH,
    Actor,
    Bounce,
    cross_lane,
    normal_person,
    people_in_lane,
    plain_look,
    running_gait,
    walking_gait,
)
from datasets.toy.walkers import Gait, Look

ANOMALY_KINDS = ("too_fast", "wrong_appearance", "wrong_motion")
_TOO_FAST = (4.2, 5.0)  # pixels a frame
_ODD_WALK_SPEED = (0.9, 1.7)
_SLIDE_SPEED = (1.9, 2.2)
_STIFF = Gait(swing=0.12, stride=1.0, bob=0.0, arms=0.5)


@dataclass(frozen=True)
class Incident:
    """An anomaly: its actors, and the lanes and frames that are theirs alone."""

    actors: list[Actor]
    lanes: tuple[int, ...]
    start: int
    stop: int


def write_script(rng: np.random.Generator, num_frames: int, kind: str | None) -> list[Actor]:
    """Cast one video.

    Args:
        rng: source of all choices.
        num_frames: length of the video.
        kind: None (normal video) or one of ``ANOMALY_KINDS``.

    Returns:
        The actors, far to near. Lanes are apart, and one person at a time is in a lane; before
        and after an incident its lanes are as busy as the others, so that a crowd tells nothing.
    """
    incident = _INCIDENTS[kind](rng, num_frames) if kind else Incident([], (), 0, 0)
    actors = list(incident.actors)
    for lane in range(len(LANES)):
        if lane not in incident.lanes:
            actors += people_in_lane(rng, lane, -int(rng.integers(0, 120)), num_frames)
            continue
        if incident.start > 0:
            actors.append(normal_person(rng, lane, last=incident.start - 3))
        after = incident.stop + int(rng.integers(3, 20))
        actors += people_in_lane(rng, lane, after, num_frames)
    return sorted(actors, key=lambda actor: actor.y)


def _too_fast(rng: np.random.Generator, num_frames: int) -> Incident:
    """People who dash through one lane, with pauses between them."""
    lane = int(rng.integers(len(LANES)))
    actors: list[Actor] = []
    start = first = int(rng.integers(10, 50))
    while first < num_frames - 10:
        look, speed = plain_look(rng, LANES[lane][1]), rng.uniform(*_TOO_FAST)
        gait = running_gait(rng)
        actors.append(cross_lane(rng, lane, speed, look, gait, first=first, kind="too_fast"))
        first += actors[-1].duration + int(rng.integers(25, 50))
    return Incident(actors, (lane,), start, num_frames)


def _wrong_appearance(rng: np.random.Generator, num_frames: int) -> Incident:
    """Somebody in bright turning checks walks like everybody else."""
    lane = int(rng.integers(len(LANES)))
    start, stop = _half(rng, num_frames)
    when: dict[str, Any] = _enter_or_leave(start, stop)
    walker = cross_lane(
        rng,
        lane,
        rng.uniform(*_ODD_WALK_SPEED),
        _checked_look(rng, LANES[lane][1]),
        walking_gait(rng),
        kind="wrong_appearance",
        **when,
    )
    return Incident([walker], (lane,), start, stop)


def _wrong_motion(rng: np.random.Generator, num_frames: int) -> Incident:
    """Somebody hops along a lane, or slides stiffly up and down or askew between two lanes."""
    far = int(rng.integers(len(LANES) - 1))
    near = far + 1
    start, stop = _half(rng, num_frames)
    look = plain_look(rng, LANES[near][1] * 0.95, greys=(30, 55))
    style = ("hop", "up_and_down", "askew")[int(rng.integers(3))]
    if style == "hop":
        bounce = Bounce(0.3 * look.height, period=13.0, hops=True)
        when = _enter_or_leave(start, stop)
        actor = cross_lane(rng, near, 1.4, look, _STIFF, kind="wrong_motion", bounce=bounce, **when)
    else:
        speed = 0.0 if style == "up_and_down" else rng.choice([-1, 1]) * rng.uniform(1.0, 1.3)
        actor = _slider(rng, look, (far, near), float(speed), start, stop)
    return Incident([actor], (far, near), start, stop)


_INCIDENTS = {
    "too_fast": _too_fast,
    "wrong_appearance": _wrong_appearance,
    "wrong_motion": _wrong_motion,
}


def _slider(
    rng: np.random.Generator,
    look: Look,
    lanes: tuple[int, int],
    speed: float,
    start: int,
    stop: int,
) -> Actor:
    rise = LANES[lanes[1]][0] - LANES[lanes[0]][0] - 2.0
    return Actor(
        look=look,
        gait=_STIFF,
        first=start,
        duration=stop - start,
        x=WIDTH * rng.uniform(0.45, 0.55),
        y=float(LANES[lanes[1]][0]),
        speed=speed,
        phase=0.0,
        kind="wrong_motion",
        bounce=Bounce(rise, period=2 * rise / rng.uniform(*_SLIDE_SPEED), hops=False),
    )


def _half(rng: np.random.Generator, num_frames: int) -> tuple[int, int]:
    """Start and stop of the first or the second half, roughly."""
    middle = int(num_frames * rng.uniform(0.4, 0.6))
    return (middle, num_frames) if rng.random() < 0.5 else (0, middle)


def _enter_or_leave(start: int, stop: int) -> dict[str, int]:
    """Who is there from the first frame on came earlier and leaves at the end of the span."""
    return {"first": start} if start > 0 else {"last": stop}


def _checked_look(rng: np.random.Generator, height: float) -> Look:
    return Look(
        height=height * rng.uniform(0.95, 1.08),
        coat=(255.0, 255.0, 255.0),
        trousers=(90.0, 255.0, 255.0),
        skin=(255.0, 140.0, 255.0),
        pattern="checker",
        spin=float(rng.choice([-1, 1]) * rng.uniform(0.08, 0.16)),
    )
