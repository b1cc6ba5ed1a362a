"""What cubes were extracted with, as flat keys, and whether a configuration still says the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY, read_json, sha256_file
from utils.untrusted.expansion import require_small_npz

logger = logging.getLogger(__name__)

# To be raised when the same settings begin to give other cubes.
EXTRACTOR_VERSION = 1
_FILES = ("weights", "model", "training_file", "testing_file")
_REACH, _TALLEST = "boxes.moving_regions.box_reach", "boxes.tallest"
_NO_EFFECT = ("batch_size",)
_ZONES = ("ignore_zones", "watch_zones")


def flatten_settings(prefix: str, block: dict[str, Any]) -> dict[str, Any]:
    """A block's keys as ``prefix.key``; files by name and content, keys without effect left out."""
    flat: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            flat.update(flatten_settings(name, value))
        elif key in _FILES:
            flat[name] = name_content(value)
        elif key not in _NO_EFFECT and name not in (_REACH, _TALLEST):
            flat[name] = value
    return flat


def later_settings(config: PreProcessConfig) -> dict[str, Any]:
    """Zones, reach and tallest box where there are any: older cubes have no such keys."""
    return _later(config.model_dump(mode="json"))


def _later(tree: dict[str, Any]) -> dict[str, Any]:
    """``later_settings`` of a block ``pre_process`` that may be older than they are."""
    boxes = tree.get("boxes", {})
    regions = boxes.get("moving_regions", {})
    backend = boxes.get("backend", "motion")
    # Boxes of motion and of the data set's own folder are never joined by regions.
    are_whole = backend == "motion" or (backend == "file" and not boxes.get("training_file"))
    reach = 0 if are_whole or not regions.get("enabled", True) else regions.get("box_reach", 0)
    tallest = boxes.get("tallest", 0) if backend == "motion" else 0
    later = {name: tree.get(name) for name in _ZONES} | {_REACH: reach, _TALLEST: tallest}
    return {name: value for name, value in later.items() if value}


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say which keys differ between two flat setting dictionaries, as ``key: old -> new``."""
    keys = sorted(set(old) | set(new))
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def require_configured(
    extracted: dict[str, Any], config: PreProcessConfig, folder: Path, video: str
) -> None:
    """Refuse cubes that were extracted with other settings than a configuration has.

    A checkpoint keeps the configuration, and ``infer.py`` extracts new videos with it: were they
    different, one model would be given two kinds of cubes. Keys that the cubes do not know (they
    are older) are not compared, nor are cubes of published files, whose settings are unknown.

    Args:
        extracted: the settings in the cubes' manifests.
        config: the block ``pre_process``.
        folder: the split's cubes, ``data/NAME/cubes/SPLIT``.
        video: one of the videos, whose ``boxes/`` and ``flows/`` are compared where they are used.

    Raises:
        UserError: naming every key that differs, with both values.
    """
    configured = _flat(config)
    if not set(configured) & set(extracted):
        logger.info(
            "%s: what these cubes were extracted with is not known (%s); the configuration's "
            "pre_process is taken on trust",
            folder,
            extracted.get("made_by", "no settings in them"),
        )
        return
    configured |= {"extractor_version": EXTRACTOR_VERSION, **_inputs_now(folder, video)}
    common = set(configured) & set(extracted)
    differing = changed_settings(
        {key: extracted[key] for key in common} | _later_in(extracted),
        {key: unless_moved(configured[key], extracted[key]) for key in common}
        | later_settings(config),
    )
    if differing:
        raise UserError(
            f"{folder}: these cubes were extracted with other settings than pre_process in the "
            f"configuration: {'; '.join(differing)}; restore these keys, or extract again with "
            "pre_process/extract_samples.py --overwrite"
        )


def warn_of_other_cubes(
    checkpoint: dict[str, Any], config: PreProcessConfig, source: str | Path
) -> None:
    """Say when the stage before was trained on cubes of other settings than this one is.

    Weights of another data set may well be gone on with, so this is no error.
    """
    tree = checkpoint["config"].get("pre_process", {})
    before = {
        **flatten_settings("boxes", tree.get("boxes", {})),
        **flatten_settings("flow", tree.get("flow", {})),
    }
    now = _flat(config)
    differing = changed_settings(
        before | _later(tree), {key: now.get(key) for key in before} | later_settings(config)
    )
    if differing:
        logger.warning(
            "%s: was trained on cubes of other settings: %s; where that was not meant, train that "
            "stage again",
            source,
            "; ".join(differing),
        )


def _later_in(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in (*_ZONES, _REACH, _TALLEST) if settings.get(name)}


def _flat(config: PreProcessConfig) -> dict[str, Any]:
    boxes, flow = config.boxes.model_dump(mode="json"), config.flow.model_dump(mode="json")
    return flatten_settings("boxes", boxes) | flatten_settings("flow", flow)


def name_content(path: str) -> str:
    """A file by name and content, so that moving it is no change and replacing it is one."""
    if not path or not Path(path).is_file():
        return path
    return f"{Path(path).name} sha256 {sha256_file(Path(path))[:16]}"


def unless_moved(now: Any, before: Any) -> Any:
    """A file that is not on this machine is the same as before when its name is."""
    is_same_name = isinstance(before, str) and before.startswith(f"{Path(str(now)).name} sha256 ")
    return before if now and is_same_name else now


def _inputs_now(folder: Path, video: str) -> dict[str, Any]:
    """What a video's boxes and flow in the data set's own folders were made with, if there."""
    root, split = folder.parents[1], folder.name
    made_with: dict[str, Any] = {}
    flow = root / "flows" / split / f"{video}.json"
    if flow.is_file():
        made_with |= flatten_settings("flow.made_with", read_json(flow))
    require_small_npz(root / "boxes" / split / f"{video}.npz")
    try:
        with np.load(root / "boxes" / split / f"{video}.npz", allow_pickle=False) as content:
            settings = json.loads(str(content["settings"]))
        made_with |= flatten_settings("boxes.made_with", settings)
    except (KeyError, *DAMAGED_ARRAY):  # a file that is used is checked where it is read
        pass
    return made_with
