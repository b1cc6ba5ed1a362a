"""What every block of a configuration is, and the types of its values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Skips = Annotated[list[Literal["none", "concat"]], Field(min_length=3, max_length=3)]


class Block(BaseModel):
    """A block of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True)
