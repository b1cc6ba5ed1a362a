"""What all training scripts begin and end with: arguments, configuration, device, the training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from engine.batches import prefetched
from engine.gradients import make_accelerator
from engine.optimizer import adam
from engine.stage import Stage, StageTask
from engine.trainer import fit
from utils import distributed
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, setup_logging
from utils.runtime import pick_device, seed_everything, use_tf32
from utils.threads.count import use_threads


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
    name: str = arguments.stage
    setup_logging()
    config = load_config(arguments.cfg_file, arguments.set, system)
    distributed.initialise(config.run.timeout_seconds)
    accelerator = make_accelerator(pick_device(config.run.device))
    use_tf32(config.run.tf32)
    use_threads(config.run.num_threads)
    seed_everything(config.run.seed)
    folder = config.stage_folder(name)
    return StageSetup(name, config, getattr(config, name), folder, accelerator, arguments.restart)


def train_stage(setup: StageSetup, task: StageTask) -> Path:
    """Train a stage to its end, from ``start_stage`` and what the script made of it.

    Returns:
        The path of the finished checkpoint, which holds what ``task.describe_normal`` says.
    """
    _announce(setup, task)
    task.loader = prefetched(task.loader, setup.device)
    if task.optimizer is None:
        task.optimizer = adam(task.model.parameters(), setup.settings, setup.device)
    stage = Stage(
        system=setup.config.system,
        name=setup.stage,
        folder=setup.folder,
        config=setup.config.model_dump(mode="json"),
        settings=setup.settings,
        run=setup.config.run,
        task=task,
    )
    path = fit(stage, setup.accelerator, setup.restart)
    echo(f"{setup.stage}: done, {path}")
    return path


def _announce(setup: StageSetup, task: StageTask) -> None:
    """Print what is about to be trained, on what, and where the result goes."""
    settings, steps = setup.settings, len(task.loader)
    trainable = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
    echo(
        f"{setup.stage}: {settings.num_epochs} epochs of {steps} steps, batches of "
        f"{settings.batch_size}, {trainable / 1e6:.2f} M trainable parameters, "
        f"{setup.device} {setup.config.run.precision}, {distributed.count()} process(es), "
        f"seed {setup.config.run.seed}"
    )
    echo(f"writing to {setup.folder} (scalars: tensorboard --logdir {setup.folder}/tensorboard)")
