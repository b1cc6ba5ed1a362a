"""What HF2-VAD's three stages share: cubes in, score statistics and alarm thresholds out."""

from __future__ import annotations

from typing import Any

from torch import nn

from datasets.cubes.dataset import CubeSet, LastFlows
from datasets.cubes.held_out import hold_out
from datasets.cubes.loader import CubeBatch, CubeLoader, to_network_inputs
from datasets.cubes.resident import training_loader
from engine.normal_data import describe_normal_data
from engine.setup import StageSetup
from engine.stage import StageTask
from utils.files import digest
from utils.runtime import in_device_layout

PICTURED = 8  # cubes of each picture for tensorboard


class CubeTask(StageTask):
    """A stage that trains on the cubes of normal video.

    Args:
        setup: from ``engine.setup.start_stage``.
        cubes: of normal video; ``data.calibration_share`` of them is held out.
        model: the network, on any device.
        fingerprint: of the cubes and of the weights that the stage starts from.
    """

    last_flow_only = False  # what the loss reads of a cube

    def __init__(
        self, setup: StageSetup, cubes: CubeSet, model: nn.Module, fingerprint: str
    ) -> None:
        self.setup, self.settings, data = setup, setup.settings, setup.config.data
        self.cubes, self.held_out = hold_out(cubes, data.calibration_share, data.fps)
        self.model = in_device_layout(model.to(setup.device), setup.device)
        shared = [fingerprint, self.cubes.fingerprint]
        self.fingerprint = fingerprint if self.held_out is None else digest(shared)
        self.loader = training_loader(
            LastFlows(self.cubes) if self.last_flow_only else self.cubes,
            setup.settings.batch_size,
            setup.device,
            shuffle=True,
            seed=setup.config.run.seed,
            **setup.share,
        )

    def inputs(self, batch: CubeBatch) -> tuple[Any, ...]:
        """Frames (B,15,32,32) in [0,1] and flows (B,8,32,32), pixels, on the device."""
        return to_network_inputs(batch.appearance, batch.motion, self.setup.device)

    def pictured(self) -> CubeBatch:
        """A few cubes, the same in every epoch."""
        return next(CubeLoader(self.cubes, PICTURED, shuffle=True).epoch(0))

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """Densities, statistics of all errors on normal cubes, thresholds calibrated on them."""
        setup = self.setup
        return describe_normal_data(
            setup.stage, model, self.cubes, self.held_out, setup.config, setup.device
        )
