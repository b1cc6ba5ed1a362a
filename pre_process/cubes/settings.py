"""The settings an extraction depends on, as a flat dictionary kept beside its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.manifest import DataSet, VideoEntry
from utils.config.hf2vad import BoxConfig, FlowConfig, PreProcessConfig
from utils.errors import UserError
from utils.files import sha256_file

# To be raised when the same settings begin to give other cubes.
EXTRACTOR_VERSION = 1
_FILES = ("weights", "model", "training_file", "testing_file")
_NO_EFFECT = ("batch_size",)


def cube_settings(config: PreProcessConfig, dataset: DataSet) -> dict[str, Any]:
    """What the cubes of a data set depend on: boxes, flow, and the content of files they name."""
    return {
        "extractor_version": EXTRACTOR_VERSION,
        **box_settings(config.boxes, dataset),
        **flow_settings(config.flow, dataset),
    }


def box_settings(config: BoxConfig, dataset: DataSet) -> dict[str, Any]:
    """The ``boxes.*`` keys; boxes read from ``boxes/`` bring the settings they were made with."""
    from pre_process.detectors.box_files import common_box_settings

    settings = _flatten("boxes", config.model_dump(mode="json"))
    if config.backend == "file" and not config.training_file:
        settings |= _flatten("boxes.made_with", common_box_settings(dataset))
    return settings


def flow_settings(config: FlowConfig, dataset: DataSet) -> dict[str, Any]:
    """The ``flow.*`` keys; flow read from ``flows/`` brings the settings it was made with."""
    from pre_process.flow.file import common_flow_settings

    settings = _flatten("flow", config.model_dump(mode="json"))
    if config.backend == "file":
        settings |= _flatten("flow.made_with", common_flow_settings(dataset))
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


def _flatten(prefix: str, block: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            flat.update(_flatten(name, value))
        elif key in _FILES:
            flat[name] = _name_content(value)
        elif key not in _NO_EFFECT:
            flat[name] = value
    return flat


def _name_content(path: str) -> str:
    """A file by name and content, so that moving it is no change and replacing it is one."""
    if not path or not Path(path).is_file():
        return path
    return f"{Path(path).name} sha256 {sha256_file(Path(path))[:16]}"


def is_network(backend: str) -> bool:
    """Whether a box or flow backend is a large network, which uses all cores or a GPU itself."""
    return backend in ("torchvision", "mmdet", "raft", "flownet2")
