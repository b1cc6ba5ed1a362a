"""The scoring model that a checkpoint describes, and what it says about cubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import FLOW_CHANNELS, MLMemAESC
from utils.checkpoint import require_same_tensors


def model_from_checkpoint(checkpoint: Mapping[str, Any], source: str) -> nn.Module | None:
    """Build the network of a checkpoint's stage around its weights, in evaluation mode.

    The weights are not copied: they are the checkpoint's own tensors.

    Args:
        checkpoint: of any HF2-VAD stage, as read by ``utils.checkpoint.load_checkpoint``.
        source: its path, for messages.

    Returns:
        ``MLMemAESC`` for stage ``ml_memae_sc``, ``None`` for a checkpoint of densities alone, which
        has no network, else ``HF2VAD``.

    Raises:
        UserError: weights that do not fit the checkpoint's own configuration.
    """
    if checkpoint["stage"] == "density":
        return None
    sizes = checkpoint["config"]["model"]
    with torch.device("meta"):
        if checkpoint["stage"] == "ml_memae_sc":
            model: nn.Module = MLMemAESC(**sizes["memae"])
        else:
            model = build_hf2vad(sizes["memae"], sizes["vunet"])
    own, weights = model.state_dict(), checkpoint["model"]
    require_same_tensors(own, weights, source)
    state = {key: weights[key].to(tensor.dtype) for key, tensor in own.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


@torch.inference_mode()
def explain(model: nn.Module | None, frames: Tensor, flows: Tensor) -> dict[str, Tensor]:
    """What the model expected of cubes, to be looked at.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``, in evaluation mode, or ``None``.
        frames: (B,15,32,32) in [0,1].
        flows: (B,8,32,32), pixels.

    Returns:
        ``frame_target`` (B,3,32,32) and ``flow`` (B,2,32,32), the last of the four; with a model
        ``flow_recon`` (B,2,32,32) of that flow; ``frame_pred`` (B,3,32,32) where the model predicts
        frames. All on the CPU.
    """
    last_flow = flows[:, -FLOW_CHANNELS:]
    shown = {"frame_target": frames[:, -3:], "flow": last_flow}
    if model is None:
        pass
    elif isinstance(model, MLMemAESC):
        shown["flow_recon"] = model(last_flow)["flow_recon"]
    else:
        output = model(frames, flows)
        shown["flow_recon"] = output["flow_recon"][:, -FLOW_CHANNELS:]
        shown["frame_pred"] = output["frame_pred"]
    return {name: values.float().cpu() for name, values in shown.items()}
