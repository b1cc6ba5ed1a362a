"""What HF2-VAD's three stages share: cubes in, score statistics and alarm thresholds out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from datasets.cubes.dataset import CubeSet, LastFlows
from datasets.cubes.loader import CubeBatch, CubeLoader, to_network_inputs
from datasets.cubes.resident import training_loader
from engine.scoring.build import model_scorer
from engine.setup import StageSetup
from engine.stage import StageTask
from evaluation.calibration import calibrate_stage
from evaluation.distributed import score_distributed
from evaluation.scores import error_statistics

PICTURED = 8  # cubes of each picture for tensorboard


class CubeTask(StageTask):
    """A stage that trains on the cubes of normal video.

    Args:
        setup: from ``engine.setup.start_stage``.
        cubes: the training cubes.
        model: the network, on any device.
        fingerprint: of the cubes and of the weights that the stage starts from.
    """

    last_flow_only = False  # what the loss reads of a cube

    def __init__(
        self, setup: StageSetup, cubes: CubeSet, model: nn.Module, fingerprint: str
    ) -> None:
        self.setup, self.cubes, self.settings = setup, cubes, setup.settings
        self.model = model.to(setup.device)
        self.fingerprint = fingerprint
        self.loader = training_loader(
            LastFlows(cubes) if self.last_flow_only else cubes,
            setup.settings.batch_size,
            setup.device,
            shuffle=True,
            seed=setup.config.run.seed,
            **setup.share,
        )

    def inputs(self, batch: CubeBatch) -> tuple[Tensor, Tensor]:
        """Frames (B,15,32,32) in [0,1] and flows (B,8,32,32), pixels, on the device."""
        return to_network_inputs(batch.appearance, batch.motion, self.setup.device)

    def pictured(self) -> CubeBatch:
        """A few cubes, the same in every epoch."""
        return next(CubeLoader(self.cubes, PICTURED, shuffle=True).epoch(0))

    def describe_normal(self, model: nn.Module) -> dict[str, Any]:
        """Statistics of all errors on the training cubes, and thresholds calibrated on them."""
        settings = self.setup.config.eval
        scorer = model_scorer(model, self.setup.device, settings.backend)
        errors = score_distributed(
            CubeLoader(self.cubes, settings.batch_size),
            lambda batch: scorer(batch.appearance.numpy(), batch.motion.numpy()),
        )
        statistics = error_statistics(errors)
        thresholds = calibrate_stage(self.setup.stage, self.cubes, settings, errors, statistics)
        return {"statistics": statistics, **thresholds}
