"""What a folder of features was extracted with, and whether a configuration still says the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from datasets.cubes.settings import changed_settings, name_content, unless_moved
from utils.config.frd import FeatureConfig, FRDConfig
from utils.config.load import load_config
from utils.errors import UserError
from utils.files import read_json
from utils.format_version import require_format

logger = logging.getLogger(__name__)

SETTINGS_FILE = "settings.json"
FORMAT_VERSION = 1  # of a feature folder; a settings file without one is of version 1
EXTRACTOR_VERSION = 1  # to be raised when the same settings begin to give other features


def feature_settings(config: FeatureConfig, frames: int) -> dict[str, Any]:
    """What the features depend on; a weights file by its name and content."""
    return {
        "extractor_version": EXTRACTOR_VERSION,
        "backend": config.backend,
        "weights": name_content(config.weights),
        "crops": config.crops,
        "frames_per_snippet": frames,
    }


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What ``settings.json`` of a feature folder says; ``None`` where there is none.

    Raises:
        UserError: damaged, or of another format version.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return None
    settings = read_json(path)
    version = settings.pop("format_version", 1) if isinstance(settings, dict) else None
    require_format(version, FORMAT_VERSION, path, "pass --overwrite to extract the features again")
    return settings


def require_configured(path: Path, config: FeatureConfig, frames: int) -> None:
    """Refuse features that were extracted with other settings than a configuration has.

    Features from elsewhere, which have no ``settings.json``, cannot be compared; the log says so.

    Args:
        path: a folder of features, or one array of many videos.
        config: the block ``pre_process.features``.
        frames: ``data.frames_per_snippet``.

    Raises:
        UserError: naming every key that differs, with both values.
    """
    extracted = read_settings(path)
    if extracted is None:
        logger.info(
            "%s: what these features were extracted with is not known (no %s); "
            "pre_process.features and data.frames_per_snippet are taken on trust",
            path,
            SETTINGS_FILE,
        )
        return
    configured = feature_settings(config, frames)
    common = set(configured) & set(extracted)
    differing = changed_settings(
        {key: extracted[key] for key in common},
        {key: unless_moved(configured[key], extracted[key]) for key in common},
    )
    if differing:
        raise UserError(
            f"{path}: these features were extracted with other settings than pre_process.features "
            f"and data.frames_per_snippet in the configuration: {'; '.join(differing)}; restore "
            "these keys (in frd_eval.py: give the --cfg_file that the features were made with), or "
            "extract again with pre_process/extract_features.py --overwrite"
        )


def require_same_features(
    config: FRDConfig, split: str, cfg_file: str | None, is_own_config: bool
) -> None:
    """``require_configured`` for scoring: features are as the checkpoint's or as ``cfg_file`` says.

    Args:
        config: the configuration to score with.
        split: whose features are scored.
        cfg_file: the file that named the data, if any.
        is_own_config: ``config`` is the checkpoint's; a published one knows of no extraction.

    Raises:
        UserError: the features were extracted with other settings.
    """
    if cfg_file is None and not is_own_config:
        return
    own = load_config(cfg_file, system="frd") if cfg_file else config
    frames = config.data.frames_per_snippet
    require_configured(config.data.features(split), own.pre_process.features, frames)
    if is_own_config and own.pre_process.features != config.pre_process.features:
        logger.warning("%s: pre_process.features differ from the checkpoint's", cfg_file)
