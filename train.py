"""HF2-VAD stage 2: train the CVAE that predicts frames from rebuilt flows (arXiv 2108.06852, §3.2).

The flow autoencoder of stage 1 is frozen, so each flow is rebuilt once and kept on disk.

python train.py --cfg_file cfgs/ped2.yaml --set cvae.num_epochs=5
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from datasets.cubes.dataset import CubeSet
from datasets.cubes.flow_recon_cache import FlowReconCache
from datasets.cubes.loader import CubeBatch, CubeLoader, to_network_inputs
from datasets.cubes.settings import warn_of_other_cubes
from engine.setup import start_stage, train_stage
from engine.stage import LossTerms
from evaluation.calibration import stage_calibration
from losses.hf2vad import cvae_loss
from models.hf2vad.errors import cube_errors
from models.hf2vad.from_checkpoint import reconstruct_flows
from models.hf2vad.fuse import fuse_for_inference
from models.hf2vad.hf2vad import build_hf2vad
from utils.checkpoint import load_finished, load_weights
from utils.errors import exit_on_user_error
from utils.files import digest, sha256_file
from visualization.flow_color import prediction_pictures


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Train stage 2 and write ``runs/NAME/cvae/last.pth``."""
    setup = start_stage("cvae", __doc__, argv)
    config, settings, device = setup.config, setup.settings, setup.device
    source = settings.init_from or config.stage_folder("ml_memae_sc") / "last.pth"
    stage1 = load_finished(source, stages=("ml_memae_sc",))
    warn_of_other_cubes(stage1, config.pre_process, source)
    model = build_hf2vad(config.model.memae.model_dump(), config.model.vunet.model_dump())
    load_weights(model.memae, stage1["model"], str(source))
    model.freeze_memae()
    model.to(device)
    cubes = CubeSet.open(config.data.folder, "training", pre_process=config.pre_process)

    fingerprint = digest([cubes.fingerprint, sha256_file(source)])

    @cache  # made where flows are still to be rebuilt, not by a run that goes on
    def fused_memae() -> nn.Module:
        return fuse_for_inference(model.memae)

    def rebuild(flows: Tensor) -> Tensor:
        return reconstruct_flows(fused_memae(), flows)

    kept = FlowReconCache(setup.folder, len(cubes), fingerprint, rebuild)

    def inputs(batch: CubeBatch) -> Any:
        frames, flows = to_network_inputs(batch.appearance, batch.motion, device)
        return frames, flows, kept(batch.indices, flows) if settings.keep_flow_recon else None

    def loss(network: nn.Module, batch: CubeBatch) -> LossTerms:
        return cvae_loss(
            network(*inputs(batch)),
            lam_kl=settings.lam_kl,
            lam_frame=settings.lam_frame,
            lam_grad=settings.lam_grad,
            intensity_loss_norm=settings.intensity_loss_norm,
            alpha=settings.alpha,
        )

    def pictures(network: nn.Module) -> dict[str, np.ndarray]:
        frames, flows, flow_recon = inputs(next(CubeLoader(cubes, 8, shuffle=True).epoch(0)))
        return prediction_pictures(flows, network(frames, flows, flow_recon))

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
        fingerprint=fingerprint,
        calibrate=stage_calibration(setup.stage, cubes, config.eval),
        for_scoring=fuse_for_inference,
    )
    kept.remove()


if __name__ == "__main__":
    main()
