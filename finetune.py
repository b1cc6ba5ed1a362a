"""HF2-VAD stage 3: train flow autoencoder and frame predictor together (arXiv 2108.06852, §3.3).

python finetune.py --cfg_file cfgs/ped2.yaml --set finetune.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import record

from datasets.cubes.dataset import CubeSet
from datasets.cubes.settings import warn_of_other_cubes
from engine.cube_task import CubeTask
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from losses.hf2vad import finetune_loss
from models.hf2vad.hf2vad import build_hf2vad
from utils.checkpoint import load_finished, load_weights
from utils.errors import exit_on_user_error
from utils.files import digest, sha256_file
from visualization.flow_color import prediction_pictures


class JointTraining(CubeTask):
    """Reconstruct all flows and predict the frame from them."""

    def terms(self, model: nn.Module, frames: Tensor, flows: Tensor) -> LossTerms:
        """Those of ``losses.hf2vad.finetune_loss``."""
        return finetune_loss(model(frames, flows), flows, self.settings)

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Flows, reconstructions, frames, predictions, each (H,W,3) uint8 BGR."""
        frames, flows = self.inputs(self.pictured())
        return prediction_pictures(flows, model(frames, flows))


@exit_on_user_error
@record
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 3 and write ``runs/NAME/finetune/last.pth``."""
    setup = start_stage("finetune", __doc__, argv)
    config = setup.config
    source = setup.settings.init_from or config.stage_folder("cvae") / "last.pth"
    stage2 = load_finished(source, stages=("cvae",))
    warn_of_other_cubes(stage2, config.pre_process, source)
    model = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())
    load_weights(model, stage2["model"], str(source))
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    fingerprint = digest([cubes.fingerprint, sha256_file(source)])
    train_stage(setup, JointTraining(setup, cubes, model, fingerprint))


if __name__ == "__main__":
    main()
