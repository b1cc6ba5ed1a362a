"""Published checkpoints into the form of ours and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from datasets.cubes.dataset import CubeSet
from evaluation.calibration import calibrate_stage
from evaluation.scores import DENSITY_STAGE, STAGES, WEIGHTS, error_statistics
from published.chunks import ChunkSet
from published.config import load_published_config, to_published_config
from published.inputs import published_checkpoint, require_admitted, training_errors
from published.state_dict_keys import to_published
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.config.load import build_config
from utils.errors import UserError
from utils.files import atomic_path, write_text

_WEIGHTS = ("w_flow", "w_frame")  # of the terms that the published code has


def import_checkpoint(
    path: Path, cfg_file: Path, output: Path, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Write a published checkpoint as one of ours, with statistics and an alarm threshold.

    Both come from the training cubes: the published chunks of the configured data set, or else
    our own cubes of it.

    Args:
        path: published ``.pth``; cfg_file: published ``.yaml``.
        output: where to write.
        overrides: ``key.sub=value`` for the new checkpoint's configuration.

    Returns:
        The checkpoint.

    Raises:
        UserError: faults of the files, or no training cubes.
    """
    published = load_published_config(cfg_file)
    require_admitted(published, str(cfg_file), overrides)
    checkpoint = published_checkpoint(path, published, str(cfg_file), overrides)
    if (published.data_folder / "training" / "chunked_samples").is_dir():
        cubes: ChunkSet | CubeSet = ChunkSet.open(published.data_folder, "training")
    else:
        config = build_config(checkpoint["config"], str(cfg_file))
        cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    errors = training_errors(checkpoint, cubes)
    statistics = error_statistics(errors)
    settings = build_config(checkpoint["config"], str(path)).eval
    thresholds = calibrate_stage(checkpoint["stage"], cubes, settings, errors, statistics)
    checkpoint |= {"statistics": statistics, **thresholds}
    save_checkpoint(output, checkpoint)
    return checkpoint


def export_checkpoint(path: Path, output: Path) -> tuple[Path, Path]:
    """Write a checkpoint of ours with published keys, and its configuration beside it.

    Returns:
        The ``.pth`` file and the ``_cfg.yaml`` file.

    Raises:
        UserError: not a checkpoint of HF2-VAD, or one whose score the published code does not have.
    """
    stages = [stage for stage in STAGES if stage != DENSITY_STAGE]
    checkpoint = load_checkpoint(path, stages=stages)
    config = build_config(checkpoint["config"], str(path))
    foreign = {key: getattr(config.eval, key) for key in WEIGHTS.values() if key not in _WEIGHTS}
    foreign |= {"normalisation": config.eval.normalisation * (config.eval.normalisation != "z")}
    for key, value in foreign.items():
        if value:
            raise UserError(
                f"{path}: its scores are made with eval.{key}={value}, which the published code "
                "cannot; evaluate it here"
            )
    state = to_published(checkpoint["model"])
    with atomic_path(output) as temporary:
        torch.save({"step": checkpoint["step"], "model_state_dict": state}, temporary)
    cfg_file = output.with_name(f"{output.stem}_cfg.yaml")
    tree = to_published_config(config, checkpoint["stage"])
    write_text(cfg_file, yaml.safe_dump(tree, sort_keys=False))
    return output, cfg_file
