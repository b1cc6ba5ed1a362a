"""Cascade R-CNN through mmdet, the detector of the published HF2-VAD boxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pre_process.detectors.mmcv_ops import provide_extension, use_torchvision_roi_align
from utils.checkpoint import load_weights
from utils.errors import UserError
from utils.pretrained import load_state_dict_file

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = Path(".mim/configs/cascade_rcnn/cascade-rcnn_r101_fpn_1x_coco.py")
PUBLISHED_WEIGHTS = (
    "https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/cascade_rcnn_r101_fpn_1x_coco/"
    "cascade_rcnn_r101_fpn_1x_coco_20200317-0b6a2fbf.pth"
)


class MMDetDetector:
    """A two-stage mmdet model, run on batches of frames.

    Args:
        config_path: mmdet configuration; empty: mmdet's own Cascade R-CNN R101-FPN 1x COCO.
        weights: its checkpoint.
        device: where it runs.

    Raises:
        UserError: mmdet is not installed; unreadable configuration; checkpoint missing or of
            another model.
    """

    def __init__(self, config_path: str, weights: str, device: torch.device) -> None:
        _require_weights(weights)
        config = load_mmdet_config(config_path)
        self.model = build_network(config)
        load_network_weights(self.model, weights)
        self.model.to(device)
        self.prepare = build_pipeline(config)

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Boxes of all classes together.

        Args:
            frames: BGR uint8 (H, W, 3).

        Returns:
            One (n, 5) float32 array a frame: x1, y1, x2, y2 in pixels of the frame, score; best
            first. What scores below the configuration's own ``score_thr`` (0.05) is not there.
        """
        if not frames:
            return []
        samples = [self.prepare({"img": frame, "img_id": 0}) for frame in frames]
        batch = {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}
        model: Any = self.model
        instances = [result.pred_instances for result in model.test_step(batch)]
        return [
            torch.cat([each.bboxes, each.scores[:, None]], dim=1).float().cpu().numpy()
            for each in instances
        ]


def load_mmdet_config(config_path: str) -> Any:
    """Read an mmdet configuration (an ``mmengine.Config``), by default the published detector's.

    An mmdet configuration is Python code: name only files you trust.
    """
    mmdet = _import_mmdet()
    path = Path(config_path) if config_path else Path(mmdet.__file__).parent / DEFAULT_CONFIG
    if not path.is_file():
        raise UserError(
            f"{path}: no such mmdet configuration; set pre_process.boxes.model to one, or leave "
            "it empty for cascade-rcnn_r101_fpn_1x_coco as installed with mmdet"
        )
    from mmengine.config import Config

    try:
        return Config.fromfile(path)
    except Exception as error:  # whatever the configuration's code may raise
        raise UserError(f"{path}: not readable as an mmdet configuration: {error}") from None


def build_network(config: Any) -> torch.nn.Module:
    """The model of an mmdet configuration, random weights, evaluation mode."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    model = MODELS.build(config.model)
    use_torchvision_roi_align(model)
    return model.eval()


def build_pipeline(config: Any) -> Any:
    """The configuration's test transforms, for frames in memory and without annotations."""
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg

    steps = get_test_pipeline_cfg(config.copy())
    steps[0].type = "mmdet.LoadImageFromNDArray"
    return Compose([step for step in steps if "LoadAnnotations" not in step.type])


def load_network_weights(model: torch.nn.Module, weights: str) -> None:
    """Fill the model; every tensor must be there, tensors it does not have are left aside."""
    state = load_state_dict_file(weights, keys=("state_dict", "model"))
    own = model.state_dict()
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):  # older checkpoints lack these counters
            state.setdefault(key, value)
    extra = [key for key in state if key not in own]
    if extra:
        logger.warning("%s: left aside: %s", weights, ", ".join(extra[:5]))
    load_weights(model, {key: state[key] for key in state if key in own}, weights)


def _require_weights(weights: str) -> None:
    if not weights or not Path(weights).is_file():
        named = f"{weights}: no such file" if weights else "pre_process.boxes.weights is empty"
        raise UserError(
            f"{named}; the mmdet backend needs a checkpoint. The published one is "
            f"{PUBLISHED_WEIGHTS} (save it and name the file in pre_process.boxes.weights)"
        )


def _import_mmdet() -> Any:
    try:
        provide_extension()
        import mmdet
        import mmdet.models  # checks what mmdet needs besides itself
    except (ImportError, AssertionError) as error:
        raise UserError(
            f"pre_process.boxes.backend is mmdet, which does not import: {error}; "
            "pip install -r requirements.txt"
        ) from None
    return mmdet
