"""Who walks where and when in the toy scene, and who misbehaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.toy_walkers import Gait, Look, Pose

WIDTH, HEIGHT = 240, 176
# Feet rows and body heights of the lanes, far to near: far people are small.
LANES = ((40, 27.0), (79, 32.0), (122, 36.0), (168, 40.0))
ANOMALY_KINDS = ("too_fast", "wrong_appearance", "wrong_motion")
_MARGIN = 22  # pixels outside the frame where a walker comes from and goes to
_WALK_SPEED = (0.7, 2.0)  # pixels a frame
_RUN_SPEED = (2.0, 2.7)
_TOO_FAST = (4.2, 5.0)


@dataclass(frozen=True)
class Actor:
    """A walker's path: a straight line from (x, y) at frame ``first``, optionally hopping."""

    look: Look
    gait: Gait
    first: int
    x: float
    y: float
    velocity_x: float
    velocity_y: float
    duration: int
    phase: float
    kind: str = "normal"
    hop_height: float = 0.0
    hop_period: float = 1.0

    def pose(self, frame: int) -> Pose | None:
        """Where the walker is in a frame, None when not in the scene."""
        age = frame - self.first
        if not 0 <= age < self.duration:
            return None
        hop = self.hop_height * abs(np.sin(np.pi * age / self.hop_period))
        speed = np.hypot(self.velocity_x, self.velocity_y)
        phase = self.phase + 2 * np.pi * age * speed / (self.gait.stride * self.look.height)
        x, y = self.x + self.velocity_x * age, self.y + self.velocity_y * age - hop
        return Pose(x, y, phase, -1 if self.velocity_x < 0 else 1, age)


def write_script(rng: np.random.Generator, num_frames: int, kind: str | None) -> list[Actor]:
    """Cast one video.

    Args:
        rng: source of all choices.
        num_frames: length of the video.
        kind: None (normal video) or one of ``ANOMALY_KINDS``.

    Returns:
        The actors, far to near. The lanes of an anomaly are clear of other people.
    """
    used: tuple[int, ...] = ()
    special: list[Actor] = []
    if kind is not None:
        used, special = _MISBEHAVIOURS[kind](rng, num_frames)
    lanes = [lane for lane in range(len(LANES)) if lane not in used]
    actors = [actor for lane in lanes for actor in _lane_of_normal_people(rng, num_frames, lane)]
    return sorted(actors + special, key=lambda actor: actor.y)


def _lane_of_normal_people(rng, num_frames: int, lane: int) -> list[Actor]:
    """People who cross one lane, one after the other, so that nobody overlaps."""
    actors: list[Actor] = []
    first = -int(rng.integers(0, 120))
    while first < num_frames:
        runs = rng.random() < 0.3
        speed = rng.uniform(*(_RUN_SPEED if runs else _WALK_SPEED))
        look = _plain_look(rng, LANES[lane][1])
        actors.append(_crossing(rng, lane, speed, look, _gait(rng, runs), first=first))
        first += actors[-1].duration + int(rng.integers(3, 25))
    return actors


def _too_fast(rng, num_frames: int) -> tuple[tuple[int, ...], list[Actor]]:
    """People who dash through one lane, with pauses between them."""
    lane = int(rng.integers(len(LANES)))
    actors: list[Actor] = []
    first = int(rng.integers(5, 40))
    while first < num_frames - 10:
        look, speed = _plain_look(rng, LANES[lane][1]), rng.uniform(*_TOO_FAST)
        dash = _crossing(rng, lane, speed, look, _gait(rng, True), first=first, kind="too_fast")
        actors.append(dash)
        first += dash.duration + int(rng.integers(25, 50))
    return (lane,), actors


def _wrong_appearance(rng, num_frames: int) -> tuple[tuple[int, ...], list[Actor]]:
    """Somebody in bright turning checks walks like everybody else."""
    lane = int(rng.integers(len(LANES)))
    look, speed = _odd_look(rng, LANES[lane][1]), rng.uniform(0.9, 1.7)
    when = _halfway(rng, num_frames)
    walker = _crossing(rng, lane, speed, look, _gait(rng, False), kind="wrong_appearance", **when)
    return (lane,), [walker]


def _wrong_motion(rng, num_frames: int) -> tuple[tuple[int, ...], list[Actor]]:
    """Somebody hops along a lane, or slides straight or askew between two lanes."""
    far = int(rng.integers(len(LANES) - 1))
    look = _plain_look(rng, LANES[far + 1][1] * 0.95)
    stiff = Gait(swing=0.12, stride=1.0, bob=0.0, arms=0.5)
    if rng.random() < 1 / 3:
        hop = {"hop_height": 0.28 * look.height, "hop_period": 14.0, "kind": "wrong_motion"}
        when = _halfway(rng, num_frames)
        return (far, far + 1), [_crossing(rng, far + 1, 1.2, look, stiff, **hop, **when)]
    actors: list[Actor] = []
    first = int(rng.integers(10, 40))
    while first < num_frames - 10:
        actors.append(_slide(rng, far, look, stiff, first))
        first += actors[-1].duration + int(rng.integers(20, 45))
    return (far, far + 1), actors


_MISBEHAVIOURS = {
    "too_fast": _too_fast,
    "wrong_appearance": _wrong_appearance,
    "wrong_motion": _wrong_motion,
}


def _halfway(rng, num_frames: int) -> dict[str, int]:
    """When somebody slow is there: from the middle on, or up to the middle."""
    middle = int(num_frames * rng.uniform(0.4, 0.6))
    return {"first": middle} if rng.random() < 0.5 else {"last": middle}


def _crossing(
    rng,
    lane: int,
    speed: float,
    look: Look,
    gait: Gait,
    *,
    first: int | None = None,
    last: int | None = None,
    **extra,
) -> Actor:
    """Cross a lane from one side to the other, entering at ``first`` or leaving at ``last``."""
    direction = 1 if rng.random() < 0.5 else -1
    duration = int((WIDTH + 2 * _MARGIN) / speed)
    return Actor(
        look=look,
        gait=gait,
        first=first if first is not None else last - duration,
        x=float(-_MARGIN if direction > 0 else WIDTH + _MARGIN),
        y=LANES[lane][0] + rng.uniform(-2, 2),
        velocity_x=direction * speed,
        velocity_y=0.0,
        duration=duration,
        phase=rng.uniform(0, 2 * np.pi),
        **extra,
    )


def _slide(rng, far: int, look: Look, gait: Gait, first: int) -> Actor:
    """Slide between the far lane's feet row and the next lane's, upright or askew."""
    top, bottom = LANES[far][0] + 2, LANES[far + 1][0]
    speed = rng.uniform(1.0, 1.5)
    down = rng.random() < 0.5
    across = rng.choice([-1.0, 0.0, 1.0]) * speed
    return Actor(
        look=look,
        gait=gait,
        first=first,
        x=WIDTH * rng.uniform(0.35, 0.65),
        y=float(top if down else bottom),
        velocity_x=float(across),
        velocity_y=float(speed if down else -speed),
        duration=int((bottom - top) / speed),
        phase=rng.uniform(0, 2 * np.pi),
        kind="wrong_motion",
    )


def _plain_look(rng, height: float) -> Look:
    """Muted clothes of any colour."""
    grey = rng.uniform(35, 95)
    return Look(
        height=height * rng.uniform(0.86, 1.08),
        coat=tuple(grey + rng.uniform(-18, 18, 3)),
        trousers=tuple(rng.uniform(30, 70) + rng.uniform(-10, 10, 3)),
        skin=tuple(np.array([105.0, 130.0, 170.0]) * rng.uniform(0.7, 1.1)),
        pattern_seed=int(rng.integers(1 << 16)),
    )


def _odd_look(rng, height: float) -> Look:
    """Bright checks that turn."""
    return Look(
        height=height * rng.uniform(0.95, 1.08),
        coat=(255.0, 255.0, 255.0),
        trousers=(90.0, 255.0, 255.0),
        skin=(255.0, 140.0, 255.0),
        pattern="checker",
        spin=float(rng.choice([-1, 1]) * rng.uniform(0.08, 0.16)),
    )


def _gait(rng, runs: bool) -> Gait:
    if runs:
        return Gait(rng.uniform(0.6, 0.8), rng.uniform(1.3, 1.6), 0.03, rng.uniform(0.8, 1.1))
    return Gait(rng.uniform(0.3, 0.5), rng.uniform(0.75, 1.1), 0.015, rng.uniform(0.4, 0.9))
