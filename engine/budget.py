"""How long training takes on this machine, and how many epochs fit into a given time."""

from __future__ import annotations

from typing import Any

import torch

from datasets.cubes.loader import to_network_inputs
from engine.scoring.build import resolve_backend
from engine.scoring.features import CubeFeatures
from engine.scoring.network import random_cubes
from evaluation.scores import DENSITIES, STAGES, WEIGHTS
from losses.hf2vad import cvae_loss, finetune_loss, memae_loss
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import FLOW_CHANNELS
from utils.files import read_json, write_json
from utils.runtime import autocast, second_run_seconds

TRAINED = STAGES[:3]


def seconds_per_step(config: Any, device: torch.device) -> dict[str, float]:
    """Seconds of one training step of each stage, measured on random cubes (the second of two)."""
    model = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())
    model = model.to(device).train()
    found = {}
    for stage in TRAINED:
        settings = getattr(config, stage)
        appearance, motion = map(torch.from_numpy, random_cubes(settings.batch_size, seed=0))
        frames, flows = to_network_inputs(appearance, motion, device)

        def step(inputs: Any = (stage, model, frames, flows, settings)) -> None:
            with autocast(device, config.run.precision):
                _loss(*inputs).backward()

        found[stage] = second_run_seconds(step, device)
    return found


def density_seconds(config: Any, device: torch.device, cubes: int) -> float:
    """Expected seconds of densities and threshold: features of so many random cubes, measured."""
    kinds = [kind for kind in DENSITIES if getattr(config.eval, WEIGHTS[kind]) > 0]
    compiled = resolve_backend(config.eval.backend, device) == "openvino"
    features = CubeFeatures(kinds, config.density.appearance, device, compiled)
    sample = random_cubes(config.eval.batch_size, seed=0)
    seconds = second_run_seconds(lambda: features(*sample), device)
    kept = min(config.density.bank_size, cubes)
    return seconds / config.eval.batch_size * (kept + config.data.calibration_share * cubes)


def planned_epochs(
    config: Any, steps: dict[str, float], cubes: int, minutes: float
) -> dict[str, int]:
    """``epochs_within``, the same again for a run that was stopped, though a machine's pace varies.

    What was planned is kept as ``runs/NAME/plan.json`` until other ``minutes`` are asked for.
    """
    path = config.stage_folder(TRAINED[0]).parent / "plan.json"
    kept = read_json(path) if path.exists() else {}
    if kept.get("minutes") == minutes and set(kept.get("epochs", ())) == set(TRAINED):
        return {stage: int(kept["epochs"][stage]) for stage in TRAINED}
    epochs = epochs_within(config, steps, cubes, 60 * minutes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"minutes": minutes, "epochs": epochs})
    return epochs


def epochs_within(
    config: Any, steps: dict[str, float], cubes: int, seconds: float
) -> dict[str, int]:
    """Epochs of each stage that fit into a time: the configured ones, cut in proportion.

    Args:
        config: for the configured epochs and batch sizes.
        steps: from ``seconds_per_step``.
        cubes: that are trained on.
        seconds: for all three stages.

    Returns:
        At least one epoch a stage, at most the configured number.
    """
    share = min(seconds / sum(stage_seconds(config, steps, cubes).values()), 1.0)
    return {stage: max(1, int(share * getattr(config, stage).num_epochs)) for stage in TRAINED}


def stage_seconds(config: Any, steps: dict[str, float], cubes: int) -> dict[str, float]:
    """Expected seconds of each stage with its configured epochs."""
    found = {}
    for stage in TRAINED:
        settings = getattr(config, stage)
        found[stage] = steps[stage] * -(-cubes // settings.batch_size) * settings.num_epochs
    return found


def _loss(
    stage: str, model: Any, frames: torch.Tensor, flows: torch.Tensor, settings: Any
) -> torch.Tensor:
    if stage == TRAINED[0]:
        last_flow = flows[:, -FLOW_CHANNELS:]
        return memae_loss(model.memae(last_flow), last_flow, settings)["total"]
    if stage == TRAINED[1]:
        with torch.no_grad():
            recon = model.memae(flows)["flow_recon"]
        return cvae_loss(model(frames, flows, recon), settings)["total"]
    return finetune_loss(model(frames, flows), flows, settings)["total"]
