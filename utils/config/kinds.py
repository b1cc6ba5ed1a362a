"""Kinds of values in a configuration, with the bounds that the libraries below have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utils.console import FASTEST, SLOWEST

MOST = 2**31 - 1

Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Width = Annotated[int, Field(ge=1, le=65_536)]  # of networks
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # NumPy's
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=SLOWEST, le=FASTEST)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
Skips = Annotated[list[Literal["none", "concat"]], Field(min_length=3, max_length=3)]
