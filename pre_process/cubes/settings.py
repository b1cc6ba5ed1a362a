"""The settings an extraction depends on, as a flat dictionary kept beside its results."""

from __future__ import annotations

from typing import Any

from datasets.cubes.settings import EXTRACTOR_VERSION, flatten_settings, later_settings
from datasets.manifest import DataSet, VideoEntry
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

    settings = flatten_settings("boxes", config.model_dump(mode="json"))
    if config.backend == "file" and not config.training_file:
        settings |= flatten_settings("boxes.made_with", common_box_settings(dataset))
    return settings


def flow_settings(config: FlowConfig, dataset: DataSet) -> dict[str, Any]:
    """The ``flow.*`` keys; flow read from ``flows/`` brings the settings it was made with."""
    from pre_process.flow.file import common_flow_settings

    settings = flatten_settings("flow", config.model_dump(mode="json"))
    if config.backend == "file":
        settings |= flatten_settings("flow.made_with", common_flow_settings(dataset))
    return settings


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
    return backend in ("torchvision", "mmdet", "raft", "flownet2")
