"""HF2-VAD stage 2: train the CVAE that predicts frames from reconstructed flows (§3.2).

The flow autoencoder of stage 1 (arXiv 2108.06852) is frozen, so each flow is reconstructed once and
cached on disk.

python train.py --cfg_file cfgs/ped2.yaml --set cvae.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import record

from datasets.cubes.dataset import CubeSet
from datasets.cubes.flow_recon_cache import open_flow_recon_cache
from datasets.cubes.loader import CubeBatch
from datasets.cubes.settings import warn_of_other_cubes
from engine.cube_task import CubeTask
from engine.scoring.build import flow_reconstructor
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from losses.hf2vad import cvae_loss
from models.hf2vad.hf2vad import HF2VAD, build_hf2vad
from utils.checkpoint import load_finished, load_weights
from utils.errors import exit_on_user_error
from utils.files import digest, sha256_file
from visualization.flow_color import prediction_pictures


class FramePrediction(CubeTask):
    """Predict the frame from frames and cached flow reconstructions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        folder, count, device = self.setup.folder, len(self.cubes), self.setup.device
        self.flow_recon = open_flow_recon_cache(
            folder, count, self.fingerprint, self._reconstruct, device
        )

    def inputs(self, batch: CubeBatch) -> tuple[Any, ...]:
        """Frames, flows and, where they are cached, the flows' reconstructions."""
        frames, flows = super().inputs(batch)
        cached = self.settings.keep_flow_recon
        return frames, flows, self.flow_recon(batch.indices, flows) if cached else None

    def terms(
        self, model: nn.Module, frames: Tensor, flows: Tensor, flow_recon: Tensor | None
    ) -> LossTerms:
        """Those of ``losses.hf2vad.cvae_loss``."""
        return cvae_loss(model(frames, flows, flow_recon), self.settings)

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Flows, reconstructions, frames, predictions, each (H,W,3) uint8 BGR."""
        frames, flows, flow_recon = self.inputs(self.pictured())
        return prediction_pictures(flows, model(frames, flows, flow_recon))

    def _reconstruct(self, flows: Tensor) -> Tensor:
        return self._reconstructor()(flows)

    @cache  # noqa: B019 - one task per process; made where a flow is missing, not before
    def _reconstructor(self) -> Any:
        memae: Any = self.model.memae
        return flow_reconstructor(memae, self.setup.device)


@exit_on_user_error
@record
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 2 and write ``runs/NAME/cvae/last.pth``."""
    setup = start_stage("cvae", __doc__, argv)
    config = setup.config
    source = setup.settings.init_from or config.stage_folder("ml_memae_sc") / "last.pth"
    stage1 = load_finished(source, stages=("ml_memae_sc",))
    warn_of_other_cubes(stage1, config.pre_process, source)
    model: HF2VAD = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())
    load_weights(model.memae, stage1["model"], str(source))
    model.freeze_memae()
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    fingerprint = digest([cubes.fingerprint, sha256_file(source)])
    task = FramePrediction(setup, cubes, model, fingerprint)
    train_stage(setup, task)
    task.flow_recon.remove()


if __name__ == "__main__":
    main()
