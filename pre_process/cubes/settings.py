"""The settings an extraction depends on, as a flat dictionary kept beside its results."""

from __future__ import annotations

from typing import Any

from datasets.cubes.settings import EXTRACTOR_VERSION, flatten_settings, later_settings
from datasets.manifest import DataSet, VideoEntry
from pre_process.detectors.build import DETECTION_NETWORKS
from pre_process.flow.build import FLOW_NETWORKS
from utils.config.hf2vad import BoxConfig, FlowConfig, PreProcessConfig
from utils.errors import UserError


def cube_settings(config: PreProcessConfig, dataset: DataSet) -> dict[str, Any]:
    """What cubes depend on: boxes, flow, the content of files they name, and zones if any."""
    return {
        "extractor_version": EXTRACTOR_VERSION,
        **box_settings(config.boxes, dataset),
        **flow_settings(config.flow, dataset),
        **later_settings(config),
    }


def box_settings(config: BoxConfig, dataset: DataSet) -> dict[str, Any]:
    """The ``boxes.*`` keys; boxes read from ``boxes/`` bring the settings they were made with."""
    from pre_process.detectors.box_files import common_box_settings

    settings = flatten_settings("boxes", config.model_dump(mode="json")) | _frame_size(dataset)
    if config.backend == "file":
        made_with = {} if config.training_file else common_box_settings(dataset)
        _require_frame_size(dataset, made_with, "boxes")
        if not config.training_file:
            settings |= flatten_settings("boxes.made_with", made_with)
    return settings


def flow_settings(config: FlowConfig, dataset: DataSet) -> dict[str, Any]:
    """The ``flow.*`` keys; flow read from ``flows/`` brings the settings it was made with."""
    from pre_process.flow.file import common_flow_settings

    settings = flatten_settings("flow", config.model_dump(mode="json")) | _frame_size(dataset)
    if config.backend == "file":
        made_with = common_flow_settings(dataset)
        _require_frame_size(dataset, made_with, "flow")
        settings |= flatten_settings("flow.made_with", made_with)
    return settings


def _frame_size(dataset: DataSet) -> dict[str, int]:
    """Older results have no such key, so it stands where frames are made smaller only."""
    return {"max_side": dataset.max_side} if dataset.max_side else {}


def _require_frame_size(dataset: DataSet, made_with: dict[str, Any], what: str) -> None:
    then = made_with.get("max_side", 0)
    if then != dataset.max_side:
        raise UserError(
            f"{dataset.root}: stored {what} are of frames read with max_side {then}, and frames "
            f"are read with {dataset.max_side} now (0: as they are); pass --max_side {then}, or "
            f"make the {what} again"
        )


def source_fingerprint(entry: VideoEntry) -> dict[str, Any]:
    """What tells that a video is another one than before: bytes on disk and frame range."""
    try:
        files = sorted(entry.source.iterdir()) if entry.source.is_dir() else [entry.source]
        size = sum(file.stat().st_size for file in files)
    except FileNotFoundError:
        raise UserError(
            f"{entry.source}: no such video; was it moved since the data set was prepared?"
        ) from None
    return {"bytes": size, "start": entry.start, "stop": entry.stop}


def is_network(backend: str) -> bool:
    """Whether a box or flow backend is a large network, which uses all cores or a GPU itself."""
    return backend in DETECTION_NETWORKS + FLOW_NETWORKS
