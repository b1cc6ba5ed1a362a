"""What a finished checkpoint tells of normal data: densities, error statistics, thresholds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.cubes.dataset import CubeSet
from datasets.cubes.held_out import CubePart
from datasets.cubes.loader import CubeBatch, CubeLoader
from datasets.training_video import describe_training_video
from engine.scoring.build import model_scorer, resolve_backend
from engine.scoring.density_scorer import DensityScorer, FlowEnergyScorer
from engine.scoring.distributed import score_distributed
from engine.scoring.features import CubeFeatures
from evaluation.calibration import calibrate_stage
from evaluation.densities.bank import Bank
from evaluation.densities.densities import METRICS, Densities, block_numbers
from evaluation.normal_statistics import normal_statistics
from evaluation.scores import DENSITIES, STAGES, WEIGHTS, Errors
from evaluation.smoothing import Smoothing
from models.backbones.build import backbone_identity
from utils.errors import UserError
from utils.progress import ProgressBar

Cubes = CubeSet | CubePart
logger = logging.getLogger(__name__)
_CPU = torch.device("cpu")
_NOTHING = 0.9  # error over squared flow from which a reconstruction is none
_FEWEST = 50  # normal cubes that a density can be made of


def describe_normal_data(
    stage: str,
    model: nn.Module | None,
    training: Cubes,
    held_out: Cubes | None,
    config: Any,
    device: torch.device,
) -> dict[str, Any]:
    """Fit the densities that the score asks for, and describe the errors of normal cubes.

    Errors are described on ``held_out``; where nothing is held out on the training cubes, which
    densities then compare with the other blocks of the video alone.

    Args:
        stage: ``ml_memae_sc``, ``cvae``, ``finetune`` or ``density``.
        model: the stage's network, or ``None``.
        training: what is fitted on.
        held_out: from ``datasets.cubes.held_out.hold_out``.
        config: the whole configuration.
        device: where to compute.

    Returns:
        ``statistics``, ``densities`` (or ``None``), ``video`` (of the training videos) and, where
        the errors allow it, ``threshold`` and ``calibration``.

    Raises:
        UserError: too few cubes for a density, a backbone that cannot be had, broken errors.
    """
    scored = score_normal(stage, model, training, held_out, config, device)
    normal = held_out or training
    statistics = normal_statistics(scored.errors, normal, Smoothing.of(config.eval))
    warn_of_empty_memory(statistics)
    if held_out is not None:
        statistics["held_out"] = _amount(held_out, config.data.fps)
    return {
        "statistics": statistics,
        "densities": None if scored.densities is None else scored.densities.state(),
        "video": describe_training_video(config),
        **calibrate_stage(stage, normal, config.eval, scored.errors, statistics),
    }


def warn_of_empty_memory(statistics: Mapping[str, Any]) -> None:
    """Say when the flow autoencoder reconstructs next to nothing: its error is the flow itself."""
    if not {"flow_error", "energy"} <= set(statistics):
        return
    error, energy = (statistics[name]["mean"] for name in ("flow_error", "energy"))
    if error > _NOTHING * energy:
        logger.warning(
            "the flow autoencoder reconstructs next to nothing (its mean error is %.0f %% of the "
            "squared flow itself), so flow_error tells no more than squared flow: train "
            "ml_memae_sc for more epochs, or give it one memory (model.memae.mem_usage)",
            100 * error / max(energy, 1e-12),
        )


@dataclass(frozen=True)
class Scored:
    """Normal cubes scored: their ``errors``, the ``densities`` fitted, ``score`` for others."""

    errors: Errors
    densities: Densities | None
    score: Callable[[Cubes], Errors]


def score_normal(
    stage: str,
    model: nn.Module | None,
    training: Cubes,
    held_out: Cubes | None,
    config: Any,
    device: torch.device = _CPU,
) -> Scored:
    """Fit the densities and score the normal cubes; see ``describe_normal_data``."""
    settings = config.eval
    kinds = [kind for kind in DENSITIES if getattr(settings, WEIGHTS[kind]) > 0]
    scorer: Any = FlowEnergyScorer()
    if model is not None:
        scorer = model_scorer(model, device, settings.backend)
    densities = None
    if kinds and stage != STAGES[0]:
        _require_enough(training, config)
        compiled = resolve_backend(settings.backend, device) == "openvino"
        features = CubeFeatures(kinds, config.density.appearance, device, compiled)
        densities = fit_densities(training, kinds, features, config)
        scorer = DensityScorer(scorer, features, densities)

    def score(cubes: Cubes, blocks: np.ndarray | None = None) -> Errors:
        def score_batch(batch: CubeBatch) -> dict[str, Any]:
            own = () if blocks is None else (blocks[batch.indices.numpy()],)
            return scorer(batch.appearance.numpy(), batch.motion.numpy(), *own)

        return score_distributed(CubeLoader(cubes, settings.batch_size), score_batch)

    if held_out is not None:
        return Scored(score(held_out), densities, score)
    blocks = None if densities is None else _blocks(training)
    return Scored(score(training, blocks), densities, score)


def fit_densities(
    cubes: Cubes, kinds: Sequence[str], features: CubeFeatures, config: Any
) -> Densities:
    """Banks of the features of normal cubes chosen at random (by ``run.seed``).

    Args:
        cubes: the normal cubes.
        kinds: of features: ``appearance``, ``velocity``.
        features: computes them.
        config: the whole configuration.
    """
    settings = config.density
    generator = np.random.default_rng(config.run.seed)
    rows = np.sort(generator.permutation(len(cubes))[: settings.bank_size])
    parts = np.array_split(rows, -(-len(rows) // config.eval.batch_size))
    gathered = [cubes.gather(part) for part in parts]
    shown = ProgressBar(gathered, desc="densities", unit="batch", mininterval=1.0)
    found = [features(*cube) for cube in shown]
    blocks = _blocks(cubes)[rows]
    banks = {
        kind: Bank(
            np.concatenate([each[kind] for each in found]).astype(np.float16),
            blocks,
            METRICS[kind],
            getattr(settings, kind).neighbours,
        )
        for kind in kinds
    }
    appearance, backbone = settings.appearance, {}
    if "appearance" in kinds:
        backbone = backbone_identity(
            appearance.backbone, appearance.weights, appearance.size, appearance.layer
        )
    return Densities(banks, np.concatenate([cube[0][:, -1] for cube in gathered]), backbone)


def _require_enough(cubes: Cubes, config: Any) -> None:
    if len(cubes) < _FEWEST:
        raise UserError(
            f"{config.data.folder}: {len(cubes)} normal cubes, and a density needs {_FEWEST}; "
            "record more video, lower pre_process.boxes.min_area, or set eval.w_appearance=0 and "
            "eval.w_velocity=0"
        )


def _blocks(cubes: Cubes) -> np.ndarray:
    lengths = np.array([cubes.num_frames[name] for name in cubes.videos])
    return block_numbers(cubes.video_index, cubes.frames, lengths)


def _amount(cubes: Cubes, fps: float) -> dict[str, Any]:
    frames = sum(cubes.num_frames.values())
    return {"videos": len(cubes.videos), "frames": frames, "seconds": frames / fps}
