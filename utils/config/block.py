"""What every block of a configuration is built of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Block(BaseModel):
    """A block of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True)
