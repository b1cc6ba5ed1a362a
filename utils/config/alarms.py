"""The configuration block ``alarms``: what counts as one alarm, and how its clip is cut."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from utils.config.block import Block
from utils.config.kinds import NonNegative


class AlarmConfig(Block):
    """Alarms of ``infer.py``; may be set when scoring, nothing is trained on it."""

    merge_seconds: NonNegative = 3.0  # a shorter gap between two alarms makes them one
    min_seconds: NonNegative = 0.5  # shorter ones are none; 0: a single frame is one
    clips: bool = True  # a video of each
    before_seconds: NonNegative = 3.0  # of a clip, before the alarm
    after_seconds: NonNegative = 3.0
    longest_clip_seconds: Annotated[float, Field(gt=0)] = 120.0  # the rest of an alarm is left out
    keep_clips: Annotated[int, Field(ge=0)] = 500  # --live: older ones are removed; 0: all stay
