"""The normal people of the toy scene: where they walk, how fast, in what clothes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.toy.walkers import Gait, Look, Pose

WIDTH, HEIGHT = 240, 192
# Feet rows and body heights of the lanes, far to near: far people are small.
LANES = ((38, 27.0), (84, 32.0), (132, 36.0), (184, 40.0))
WALK_SPEED = (0.7, 2.0)  # pixels a frame
RUN_SPEED = (2.0, 2.8)
_RUNNERS = 0.45  # share of the people
_MARGIN = 22  # pixels outside the frame where people come from and go to


@dataclass(frozen=True)
class Bounce:
    """Going up and down: ``height`` pixels, ``period`` frames; hopping, or sliding to and fro."""

    height: float
    period: float
    hops: bool

    def lift(self, age: int) -> float:
        """Pixels above the ground line at an age in frames."""
        share = age / self.period
        wave = abs(np.sin(np.pi * share)) if self.hops else 1 - abs(2 * (share % 1) - 1)
        return self.height * wave


@dataclass(frozen=True)
class Actor:
    """A person's path: straight along a row from (x, y) at frame ``first``, perhaps bouncing."""

    look: Look
    gait: Gait
    first: int
    duration: int
    x: float
    y: float
    speed: float  # pixels a frame, to the right
    phase: float
    kind: str = "normal"
    bounce: Bounce | None = None

    def pose(self, frame: int) -> Pose | None:
        """Where the person is in a frame, None when not in the scene."""
        age = frame - self.first
        if not 0 <= age < self.duration:
            return None
        cycles = age * abs(self.speed) / (self.gait.stride * self.look.height)
        lift = self.bounce.lift(age) if self.bounce else 0.0
        facing = -1 if self.speed < 0 else 1
        phase = self.phase + 2 * np.pi * cycles
        return Pose(self.x + self.speed * age, self.y - lift, phase, facing, age)


def people_in_lane(rng: np.random.Generator, lane: int, first: int, stop: int) -> list[Actor]:
    """People who cross a lane one after the other, the first entering at ``first``."""
    actors: list[Actor] = []
    while first < stop:
        actors.append(normal_person(rng, lane, first=first))
        first += actors[-1].duration + int(rng.integers(3, 20))
    return actors


def normal_person(rng: np.random.Generator, lane: int, **when: Any) -> Actor:
    """Somebody who walks or runs through a lane, entering at ``first`` or gone at ``last``."""
    runs = rng.random() < _RUNNERS
    speed = rng.uniform(*(RUN_SPEED if runs else WALK_SPEED))
    gait = running_gait(rng) if runs else walking_gait(rng)
    return cross_lane(rng, lane, speed, plain_look(rng, LANES[lane][1]), gait, **when)


def cross_lane(
    rng: np.random.Generator,
    lane: int,
    speed: float,
    look: Look,
    gait: Gait,
    *,
    first: int | None = None,
    last: int | None = None,
    kind: str = "normal",
    bounce: Bounce | None = None,
) -> Actor:
    """Cross a lane from side to side, entering at frame ``first`` or gone at frame ``last``."""
    direction = 1 if rng.random() < 0.5 else -1
    duration = int((WIDTH + 2 * _MARGIN) / speed)
    return Actor(
        look=look,
        gait=gait,
        first=first if first is not None else (last or 0) - duration,
        duration=duration,
        x=float(-_MARGIN if direction > 0 else WIDTH + _MARGIN),
        y=LANES[lane][0] + rng.uniform(-2, 2),
        speed=direction * speed,
        phase=rng.uniform(0, 2 * np.pi),
        kind=kind,
        bounce=bounce,
    )


def plain_look(
    rng: np.random.Generator, height: float, greys: tuple[float, float] = (35, 95)
) -> Look:
    """Muted clothes of any colour, the coat of a mean grey level within ``greys``."""
    return Look(
        height=height * rng.uniform(0.86, 1.08),
        coat=tuple(rng.uniform(*greys) + rng.uniform(-18, 18, 3)),
        trousers=tuple(rng.uniform(30, 70) + rng.uniform(-10, 10, 3)),
        skin=tuple(np.array([105.0, 130.0, 170.0]) * rng.uniform(0.7, 1.1)),
        pattern_seed=int(rng.integers(1 << 16)),
    )


def walking_gait(rng: np.random.Generator) -> Gait:
    """Small to middling steps."""
    return Gait(rng.uniform(0.3, 0.5), rng.uniform(0.75, 1.1), 0.015, rng.uniform(0.4, 0.9))


def running_gait(rng: np.random.Generator) -> Gait:
    """Long steps, high knees, arms that swing along."""
    return Gait(rng.uniform(0.55, 0.7), rng.uniform(1.3, 1.6), 0.03, rng.uniform(0.8, 1.1))
