"""What a checkpoint must hold, checked once when it is read, as strictly as a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from utils.config.load import SYSTEMS, build_config, validate
from utils.errors import UserError
from utils.untrusted.tensors import require_plain_tensors

Count = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=1000)]


def _require_share(counts: list[int]) -> list[int]:
    if not 0 <= counts[0] <= counts[1] or not counts[1]:
        raise ValueError("must be a part and a whole")
    return counts


_Share = Annotated[list[Count], Field(min_length=2, max_length=2), AfterValidator(_require_share)]


class _Table(BaseModel):
    """A block of plain values; keys of newer code are left alone."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Surprise(_Table):
    knots: Annotated[list[float], Field(min_length=1, max_length=10_000)]
    tail: Annotated[float, Field(gt=0)]


class _ErrorStatistics(_Table):
    mean: float
    std: Annotated[float, Field(ge=0)]
    quantiles: Annotated[list[float], Field(min_length=1, max_length=1000)]
    surprise: _Surprise | None = None


class _HeldOut(_Table):
    videos: Count
    frames: Count
    seconds: Annotated[float, Field(ge=0)]


class _Tail(_Table):
    start: float
    frames: Count
    alarms: Count
    frames_scale: Annotated[float, Field(ge=0)]
    alarms_scale: Annotated[float, Field(ge=0)]


class _Calibration(_Table):
    score: Text
    smoothing: Text
    num_frames: Annotated[int, Field(ge=1, lt=2**53)]
    thresholds: Annotated[list[float], Field(min_length=1, max_length=100_000)]
    frames: list[Count]
    alarms: list[Count]
    tail: _Tail

    @model_validator(mode="after")
    def _one_row_a_threshold(self) -> _Calibration:
        if not len(self.thresholds) == len(self.frames) == len(self.alarms):
            raise ValueError("thresholds, frames and alarms must be of one length")
        if any(
            low >= high for high, low in zip(self.thresholds, self.thresholds[1:], strict=False)
        ):
            raise ValueError("thresholds must fall")
        return self


class _Video(_Table):
    """Of the training videos; 0: they differ, or it is not known."""

    width: Annotated[int, Field(ge=0, le=2**16)]
    height: Annotated[int, Field(ge=0, le=2**16)]
    fps: Annotated[float, Field(ge=0, le=1000)]
    max_side: Annotated[int, Field(ge=0, le=2**16)] = 0


class _Diagnosis(_Table):
    """Of a training of FRD-UVAD; of each video the numbers of labelled snippets and of all."""

    rms: Annotated[float, Field(ge=0)]
    gain: float | None
    correlation: float | None
    labelled: Annotated[float, Field(ge=0, le=1)]
    videos: Annotated[dict[Text, _Share], Field(max_length=1_000_000)]


class _Checkpoint(_Table):
    """Everything but weights and training state, which are compared with the network's own."""

    system: Text
    stage: Text
    config: dict[str, Any]
    model: dict[str, Any]
    finished: bool
    epoch: Count
    step: Count
    provenance: Annotated[dict[str, Text], Field(max_length=100)]
    statistics: dict[str, Any] | None = None
    threshold: float | None = None
    calibration: _Calibration | None = None
    video: _Video | None = None
    selection: Text | None = None
    training: dict[str, Any] = {}
    densities: dict[str, Any] | None = None
    diagnosis: _Diagnosis | None = None
    feature_scale: Annotated[float, Field(gt=0)] = 1.0
    feature_mean: Any = None  # a tensor


def require_whole(checkpoint: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose parts are of another kind than this project writes.

    Blocks that its configuration lacks are filled in, and keys of ``run`` and of its stage.

    Raises:
        UserError: all faults of its tables at once; a configuration that would not be accepted
            from a file; weights that are no plain tensors in memory.
    """
    source = f"{path}: not a whole checkpoint, train that stage again"
    validate(checkpoint, _Checkpoint, source)
    system, stage = checkpoint["system"], checkpoint["stage"]
    config = checkpoint["config"]
    if system not in SYSTEMS or stage not in SYSTEMS[system].model_fields:
        raise UserError(f"{path}: of system {system!r} and stage {stage!r}, which are not known")
    built = build_config(config, f"{path}: its configuration", system).model_dump(mode="json")
    checkpoint["config"] = _filled(config, built, ("run", stage))
    _require_statistics(checkpoint.get("statistics"), source)
    require_plain_tensors(checkpoint["model"], str(path))
    if checkpoint.get("feature_mean") is not None:
        require_plain_tensors({"feature_mean": checkpoint["feature_mean"]}, str(path))


def _filled(config: dict[str, Any], built: dict[str, Any], whole: Sequence[str]) -> dict[str, Any]:
    blocks = {name: {**built[name], **(config.get(name) or {})} for name in whole}
    return {**built, **config, **blocks}


def _require_statistics(statistics: dict[str, Any] | None, source: str) -> None:
    if statistics and "num_cubes" not in statistics:
        raise UserError(f"{source}: its statistics lack num_cubes")
    for name, entry in (statistics or {}).items():
        where = f"{source}: statistics of {str(name)[:100]}"
        if name == "num_cubes":
            if type(entry) is not int or entry < 0:
                raise UserError(f"{where}: no count")
        elif name == "quantile_levels":
            if not isinstance(entry, list):
                raise UserError(f"{where}: no list")
        elif isinstance(entry, dict):
            validate(entry, _HeldOut if name == "held_out" else _ErrorStatistics, where)
        else:
            raise UserError(f"{where}: no table")
