"""The opening that all training scripts share: arguments, configuration, device, seed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from engine.stage import EpochLoader, LossTerms, Stage
from engine.trainer import adam, fit, make_accelerator
from evaluation.distributed import Batches, score_distributed
from evaluation.scores import Errors, error_statistics
from utils import distributed
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, setup_logging
from utils.runtime import pick_device, seed_everything


@dataclass
class StageSetup:
    """What a training script starts from."""

    stage: str
    config: Any
    settings: Any  # the stage's block
    folder: Path
    accelerator: Accelerator
    restart: bool

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.accelerator.device

    @property
    def share(self) -> dict[str, int]:
        """What a loader of training batches must know about the processes."""
        return {"rank": distributed.index(), "world_size": distributed.count()}


def start_stage(
    stage: str | Sequence[str],
    description: str,
    argv: Sequence[str] | None = None,
    system: str = "hf2vad",
) -> StageSetup:
    """Read the command line and the configuration of a training script and seed everything.

    Args:
        stage: the stage's name, which is also its block in the configuration; several names: the
            script gets ``--stage``, the first is its default.
        description: the script's docstring; its last line is the example that ``--help`` shows.
        argv: command line without the program's name; default: the real one.

    Raises:
        UserError: faults in the configuration.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--restart", action="store_true", help="start over, do not resume")
    names = [stage] if isinstance(stage, str) else list(stage)
    parser.set_defaults(stage=names[0])
    if len(names) > 1:
        parser.add_argument("--stage", choices=names, help=f"what to train (default: {names[0]})")
    arguments = parser.parse_args(argv)
    stage = arguments.stage
    distributed.join()
    setup_logging()
    config = load_config(arguments.cfg_file, arguments.set, system)
    accelerator = make_accelerator(pick_device(config.run.device), config.run.precision)
    if config.run.num_threads:
        torch.set_num_threads(config.run.num_threads)
    seed_everything(config.run.seed)
    folder = config.stage_folder(stage)
    return StageSetup(stage, config, getattr(config, stage), folder, accelerator, arguments.restart)


def train_stage(
    setup: StageSetup,
    model: nn.Module,
    loader: EpochLoader,
    loss: Callable[[nn.Module, Any], LossTerms],
    normal_data: Batches,
    score: Callable[[nn.Module, Any], Mapping[str, Any]],
    pictures: Callable[[nn.Module], dict[str, np.ndarray]] | None,
    fingerprint: str,
    calibrate: Callable[[Errors, dict[str, Any]], dict[str, Any]] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    memory: Any = None,
    for_scoring: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> Path:
    """Train; the finished checkpoint holds the score statistics of ``normal_data``.

    Args:
        setup: from ``start_stage``.
        model: on the device; parameters that do not require gradients stay as they are.
        loader: training batches, this process's share of them.
        loss: (model, batch) to named terms with ``total``.
        normal_data: batches of all training items in their order.
        score: (model, batch) to named errors, each (B,).
        pictures: model to named pictures for tensorboard.
        fingerprint: identifies the training data.
        calibrate: maps the errors of ``normal_data`` and their statistics to further entries of
            the checkpoint, ``threshold`` and ``calibration``.
        optimizer: ``None``: Adam with the stage's settings.
        memory: what the loss keeps from step to step.
        for_scoring: maps the finished model to an equal one that scores faster.

    Returns:
        The path of the finished checkpoint.
    """
    _announce(setup, model, len(loader))

    def describe_normal(network: nn.Module) -> dict[str, Any]:
        scored_by = for_scoring(network)
        errors = score_distributed(normal_data, lambda batch: score(scored_by, batch))
        statistics = error_statistics(errors)
        thresholds = calibrate(errors, statistics) if calibrate else {}
        return {"statistics": statistics, **thresholds}

    stage = Stage(
        system=setup.config.system,
        name=setup.stage,
        folder=setup.folder,
        config=setup.config.model_dump(mode="json"),
        settings=setup.settings,
        model=model,
        optimizer=optimizer or adam(model.parameters(), setup.settings, setup.device),
        loader=loader,
        loss=loss,
        describe_normal=describe_normal,
        fingerprint=fingerprint,
        pictures=pictures,
        memory=memory,
    )
    path = fit(stage, setup.accelerator, setup.config.run, setup.restart)
    echo(f"{setup.stage}: done, {path}")
    return path


def _announce(setup: StageSetup, model: nn.Module, steps: int) -> None:
    """Say what is about to be trained, on what, and where the result goes."""
    settings = setup.settings
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    echo(
        f"{setup.stage}: {settings.num_epochs} epochs of {steps} steps, batches of "
        f"{settings.batch_size}, {trainable / 1e6:.2f} M trainable parameters, "
        f"{setup.device} {setup.config.run.precision}, {distributed.count()} process(es), "
        f"seed {setup.config.run.seed}"
    )
    echo(f"writing to {setup.folder} (scalars: tensorboard --logdir {setup.folder}/tensorboard)")
