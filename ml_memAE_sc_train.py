"""HF2-VAD stage 1: train ML-MemAE-SC to rebuild normal optical flow (arXiv 2108.06852, §3.1).

python ml_memAE_sc_train.py --cfg_file cfgs/ped2.yaml --set ml_memae_sc.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import CubeBatch, CubeLoader, to_network_inputs
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from evaluation.calibration import stage_calibration
from losses.hf2vad import memae_loss
from models.hf2vad.errors import stage1_errors
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.errors import exit_on_user_error
from visualization.flow_color import flow_pictures


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 1 and write ``runs/NAME/ml_memae_sc/last.pth``."""
    setup = start_stage("ml_memae_sc", __doc__, argv)
    config, settings, device = setup.config, setup.settings, setup.device
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)
    model = MLMemAESC(**config.model.memae.model_dump()).to(device)
    in_order = CubeLoader(cubes, config.eval.batch_size)

    def last_flow(batch: CubeBatch) -> Any:
        return to_network_inputs(batch.appearance, batch.motion[:, -1:], device)[1]

    def loss(network: nn.Module, batch: CubeBatch) -> LossTerms:
        flow = last_flow(batch)
        return memae_loss(network(flow), flow, settings.lam_recon, settings.lam_sparse)

    def pictures(network: nn.Module) -> dict[str, np.ndarray]:
        flow = last_flow(next(CubeLoader(cubes, 8, shuffle=True).epoch(0)))
        return flow_pictures(flow, network(flow)["flow_recon"])

    train_stage(
        setup,
        model,
        loader=CubeLoader(
            cubes, settings.batch_size, shuffle=True, seed=config.run.seed, **setup.share
        ),
        loss=loss,
        normal_data=in_order,
        score=lambda network, batch: stage1_errors(network, last_flow(batch)),
        pictures=pictures,
        fingerprint=cubes.fingerprint,
        calibrate=stage_calibration(setup.stage, cubes, config.eval),
        for_scoring=fuse_for_inference,
    )


if __name__ == "__main__":
    main()
