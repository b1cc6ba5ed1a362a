"""HF2-VAD stage 3: train flow autoencoder and frame predictor together (arXiv 2108.06852, §3.3).

python finetune.py --cfg_file cfgs/ped2.yaml --set finetune.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import CubeBatch, CubeLoader, to_network_inputs
from datasets.cubes.settings import warn_of_other_cubes
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from evaluation.calibration import stage_calibration
from losses.hf2vad import finetune_loss
from models.hf2vad.errors import cube_errors
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import build_hf2vad
from utils.checkpoint import load_finished, load_weights
from utils.errors import exit_on_user_error
from utils.files import digest, sha256_file
from visualization.flow_color import prediction_pictures


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 3 and write ``runs/NAME/finetune/last.pth``."""
    setup = start_stage("finetune", __doc__, argv)
    config, settings, device = setup.config, setup.settings, setup.device
    source = settings.init_from or config.stage_folder("cvae") / "last.pth"
    stage2 = load_finished(source, stages=("cvae",))
    warn_of_other_cubes(stage2, config.pre_process, source)
    model = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())
    load_weights(model, stage2["model"], str(source))
    model.to(device)
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)

    def inputs(batch: CubeBatch) -> Any:
        return to_network_inputs(batch.appearance, batch.motion, device)

    def loss(network: nn.Module, batch: CubeBatch) -> LossTerms:
        frames, flows = inputs(batch)
        return finetune_loss(
            network(frames, flows),
            flows,
            lam_recon=settings.lam_recon,
            lam_sparse=settings.lam_sparse,
            lam_kl=settings.lam_kl,
            lam_frame=settings.lam_frame,
            lam_grad=settings.lam_grad,
            intensity_loss_norm=settings.intensity_loss_norm,
            alpha=settings.alpha,
        )

    def pictures(network: nn.Module) -> dict[str, np.ndarray]:
        frames, flows = inputs(next(CubeLoader(cubes, 8, shuffle=True).epoch(0)))
        return prediction_pictures(flows, network(frames, flows))

    train_stage(
        setup,
        model,
        loader=CubeLoader(
            cubes, settings.batch_size, shuffle=True, seed=config.run.seed, **setup.share
        ),
        loss=loss,
        normal_data=CubeLoader(cubes, config.eval.batch_size),
        score=lambda network, batch: cube_errors(network, *inputs(batch)),
        pictures=pictures,
        fingerprint=digest([cubes.fingerprint, sha256_file(source)]),
        calibrate=stage_calibration(setup.stage, cubes, config.eval),
        for_scoring=fuse_for_inference,
    )


if __name__ == "__main__":
    main()
