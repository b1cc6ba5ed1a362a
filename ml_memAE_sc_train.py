"""HF2-VAD stage 1: train ML-MemAE-SC to reconstruct normal flow (arXiv 2108.06852, §3.1).

python ml_memAE_sc_train.py --cfg_file cfgs/ped2.yaml --set ml_memae_sc.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import record

from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import CubeBatch
from engine.cube_task import CubeTask
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from losses.hf2vad import memae_loss
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.errors import exit_on_user_error
from visualization.flow_color import flow_pictures


class FlowReconstruction(CubeTask):
    """Reconstruct the last of a cube's flows."""

    last_flow_only = True

    def inputs(self, batch: CubeBatch) -> tuple[Any, ...]:
        """The last flow (B,2,32,32), pixels."""
        return (super().inputs(batch._replace(motion=batch.motion[:, -1:]))[1],)

    def terms(self, model: nn.Module, flow: Tensor) -> LossTerms:
        """Those of ``losses.hf2vad.memae_loss``."""
        return memae_loss(model(flow), flow, self.settings)

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Flows and their reconstructions, (H,W,3) uint8 BGR."""
        (flow,) = self.inputs(self.pictured())
        return flow_pictures(flow, model(flow)["flow_recon"])


@exit_on_user_error
@record
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 1 and write ``runs/NAME/ml_memae_sc/last.pth``."""
    setup = start_stage("ml_memae_sc", __doc__, argv)
    config = setup.config
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    model = MLMemAESC(**config.model.memae.model_dump())
    train_stage(setup, FlowReconstruction(setup, cubes, model, cubes.fingerprint))


if __name__ == "__main__":
    main()
