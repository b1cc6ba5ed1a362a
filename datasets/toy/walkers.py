"""The people of the toy scene: how they look, how they walk, and how one is drawn."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

OVERSAMPLING = 3  # sprites are drawn this much larger and shrunk, so that motion is sub-pixel
_TEXELS = 56  # texture pixels a body height
_SHIFT = 6  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Look:
    """What a walker looks like: body height in pixels, BGR colours, cloth pattern.

    ``pattern``: ``cloth`` (faint weave, everybody's) or ``checker`` (large bright squares that
    turn about the body's middle by ``spin`` radians a frame).
    """

    height: float
    coat: tuple[float, float, float]
    trousers: tuple[float, float, float]
    skin: tuple[float, float, float]
    pattern: str = "cloth"
    spin: float = 0.0
    pattern_seed: int = 0


@dataclass(frozen=True)
class Gait:
    """How the limbs move: swing in radians, stride (body heights a cycle), bob in body heights."""

    swing: float
    stride: float
    bob: float
    arms: float


@dataclass(frozen=True)
class Pose:
    """A walker in one frame: feet position in pixels, phase of the gait in radians, facing ±1."""

    x: float
    y: float
    phase: float
    facing: int
    age: int


def sprite(look: Look, gait: Gait, pose: Pose) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Draw a walker.

    Returns:
        ``(colour (h,w,3) float32 0..255, alpha (h,w) float32 0..1, left, top)``: the last two are
        where the sprite lies in the frame, in whole pixels.
    """
    half = int(np.ceil(0.55 * look.height)) + 2
    tall = int(np.ceil(1.15 * look.height)) + 4
    left, top = int(np.floor(pose.x)) - half, int(np.floor(pose.y)) - tall + 3
    size = (tall * OVERSAMPLING, 2 * half * OVERSAMPLING)
    origin = np.array([pose.x - left, pose.y - top]) * OVERSAMPLING
    scale = look.height * OVERSAMPLING
    colour, mask = _draw_body(size, origin, scale, look, gait, pose)
    colour *= _pattern(size, origin, scale, look, pose)[..., None]
    shape = (2 * half, tall)
    colour = cv2.resize(colour, shape, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(mask, shape, interpolation=cv2.INTER_AREA)
    return colour, alpha, left, top


def _draw_body(
    size: tuple[int, int], origin: np.ndarray, scale: float, look: Look, gait: Gait, pose: Pose
) -> tuple[np.ndarray, np.ndarray]:
    """Legs, trunk, head and arms; returns premultiplied colour and coverage, oversampled."""
    colour = np.zeros((*size, 3), np.float32)
    mask = np.zeros(size, np.float32)
    bob = gait.bob * abs(np.sin(pose.phase)) * scale
    hip = origin + np.array([0.0, -0.47 * scale + bob])
    neck = hip + np.array([0.03 * pose.facing * scale, -0.33 * scale])
    swing = gait.swing * np.sin(pose.phase)

    def limb(
        start: np.ndarray, angle: float, length: float, width: float, shade: Any, bend: float = 0.0
    ) -> None:
        middle = start + 0.5 * length * np.array([np.sin(angle), np.cos(angle)])
        lower = angle - bend * pose.facing
        end = middle + 0.5 * length * np.array([np.sin(lower), np.cos(lower)])
        for first, second in ((start, middle), (middle, end)):
            _stroke(colour, mask, first, second, width, shade)

    lift = gait.swing * np.cos(pose.phase)
    far, near = tuple(0.75 * c for c in look.trousers), look.trousers
    dark_coat = tuple(0.8 * c for c in look.coat)
    arm = neck + np.array([0.0, 0.05 * scale])
    limb(arm, gait.arms * swing, 0.38 * scale, 0.075 * scale, dark_coat, -0.3)
    limb(hip, -swing, 0.47 * scale, 0.12 * scale, far, max(0.0, lift * -pose.facing))
    limb(hip, swing, 0.47 * scale, 0.12 * scale, near, max(0.0, lift * pose.facing))
    _stroke(colour, mask, hip, neck + np.array([0.0, 0.04 * scale]), 0.24 * scale, look.coat)
    head = neck + np.array([0.02 * pose.facing * scale, -0.12 * scale])
    _stroke(colour, mask, head, head + np.array([0.0, 0.03 * scale]), 0.15 * scale, look.skin)
    limb(arm, -gait.arms * swing, 0.38 * scale, 0.075 * scale, dark_coat, -0.3)
    return colour, mask


def _stroke(
    colour: np.ndarray,
    mask: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    width: float,
    shade: Any,
) -> None:
    first, second = (tuple(int(v * (1 << _SHIFT)) for v in point) for point in (start, end))
    thickness = max(1, round(width))
    cv2.line(colour, first, second, shade, thickness, cv2.LINE_8, _SHIFT)
    cv2.line(mask, first, second, 1.0, thickness, cv2.LINE_8, _SHIFT)


def _pattern(
    size: tuple[int, int], origin: np.ndarray, scale: float, look: Look, pose: Pose
) -> np.ndarray:
    """Brightness factor of the clothes, fixed to the body (size of the oversampled sprite)."""
    texture = _checks() if look.pattern == "checker" else _weave(look.pattern_seed)
    angle = look.spin * pose.age
    per_pixel = _TEXELS / scale
    turn = per_pixel * np.array(
        [[pose.facing * np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    middle = origin - np.array([0.0, 0.5 * scale])
    offset = np.array([_TEXELS, _TEXELS]) - turn @ middle
    return cv2.warpAffine(
        texture,
        np.column_stack([turn, offset]),
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


@functools.lru_cache(maxsize=64)
def _weave(seed: int) -> np.ndarray:
    """Faint cloth texture: smooth noise around 1, two body heights a side."""
    noise = np.random.default_rng(seed).standard_normal((2 * _TEXELS, 2 * _TEXELS), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.6)
    return 1 + 0.16 * smooth / smooth.std()


@functools.cache
def _checks() -> np.ndarray:
    """Bright and nearly black squares, two body heights a side."""
    rows, columns = np.indices((2 * _TEXELS, 2 * _TEXELS)) // 8
    return np.where((rows + columns) % 2 == 0, 1.0, 0.08).astype(np.float32)
