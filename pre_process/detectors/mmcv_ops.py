"""Let mmdet run on mmcv-lite: the two compiled operations it needs come from torchvision.

mmcv-lite is mmcv without its compiled extension, so that it installs anywhere. Cascade R-CNN
calls two operations of that extension: non-maximum suppression and RoIAlign. torchvision has
both, with the same definitions, on CPU and GPU.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
import torchvision

from utils.errors import UserError

EXTENSION = "mmcv._ext"


def provide_extension() -> None:
    """Put a stand-in for ``mmcv._ext`` into ``sys.modules``, unless the compiled one is there."""
    if EXTENSION in sys.modules or importlib.util.find_spec(EXTENSION) is not None:
        return
    extension: Any = ModuleType(EXTENSION, doc=__doc__)
    extension.__spec__ = importlib.machinery.ModuleSpec(EXTENSION, loader=None)
    extension.nms = nms
    extension.__getattr__ = _missing_operation
    sys.modules[EXTENSION] = extension


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """mmcv's non-maximum suppression: indices of kept boxes, best score first.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: a box goes when its overlap with a better one is larger.
        offset: 1 when a box's last row and column count as inside.
    """
    far_edge = boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes + far_edge, scores, iou_threshold)


def use_torchvision_roi_align(model: torch.nn.Module) -> None:
    """Switch every RoIAlign layer of ``model`` to torchvision's."""
    from mmcv.ops import RoIAlign

    for layer in model.modules():
        if isinstance(layer, RoIAlign):
            layer.use_torchvision = True


def _missing_operation(name: str) -> Any:
    """``getattr`` of the stand-in: mmcv asks for every operation at import, calls come later."""
    if name.startswith("__"):
        raise AttributeError(name)

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise UserError(
            f"pre_process.boxes.model: this mmdet model calls mmcv's operation '{name}', which "
            "mmcv-lite lacks; choose a model that needs only NMS and RoIAlign (such as the "
            "default), or install the full mmcv"
        )

    return refuse
