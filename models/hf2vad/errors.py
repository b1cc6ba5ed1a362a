"""Anomaly evidence of a cube: how badly its flow is reconstructed and its frame predicted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.hf2vad.hf2vad import HF2VAD
from models.hf2vad.ml_memae_sc import FLOW_CHANNELS, MLMemAESC

_FASTEST = 4  # one pixel in so many is among the fastest


@torch.inference_mode()
def cube_errors(
    model: HF2VAD, frames: Tensor, flows: Tensor, flow_recon: Tensor | None = None
) -> dict[str, Tensor]:
    """Errors of the full model (HF2-VAD §3.3).

    Args:
        model: in evaluation mode.
        frames: (B, 15, 32, 32) in [0, 1].
        flows: (B, 8, 32, 32), pixels.
        flow_recon: the reconstruction of ``flows`` where it is known already.

    Returns:
        Each (B,) float32: ``flow_error`` S_r and ``frame_error`` S_p, sums of squared differences;
        ``energy``, the sum of the squared flows; ``steady_energy``, the same from the middle
        two of the four flows' energies, so that one flow that failed does not count; and
        ``fast_energy``, steady energy of the fastest quarter of each flow's pixels, so that slow
        people in the same box do not dilute what is fast.

    Raises:
        ValueError: the model is in training mode.
    """
    _require_eval(model)
    return errors_of_output(model(frames, flows, flow_recon), flows)


def errors_of_output(output: Mapping[str, Tensor], flows: Tensor) -> dict[str, Tensor]:
    """Errors from what the full model made of cubes; see :func:`cube_errors`.

    Args:
        output: ``flow_recon`` (B, 8, 32, 32), ``frame_pred`` and ``frame_target`` (B, 3, 32, 32).
        flows: (B, 8, 32, 32), pixels.
    """
    return {
        "flow_error": _squared_sum(output["flow_recon"] - flows.float()),
        "frame_error": _squared_sum(output["frame_pred"] - output["frame_target"].float()),
        **energies(flows),
    }


def energies(flows: Tensor) -> dict[str, Tensor]:
    """Those of :func:`cube_errors` that need flows (B, 8, 32, 32) alone, each (B,)."""
    squared = flows.float().square().unflatten(1, (-1, FLOW_CHANNELS)).sum(2).flatten(2)
    fastest = squared.topk(squared.shape[2] // _FASTEST, dim=2, sorted=False).values
    return {
        "energy": _squared_sum(flows),
        "steady_energy": _steady(squared.sum(2)),
        "fast_energy": _steady(fastest.sum(2)),
    }


@torch.inference_mode()
def stage1_errors(memae: MLMemAESC, flows: Tensor) -> dict[str, Tensor]:
    """Errors of the flow autoencoder alone, on the last of the four flows.

    Args:
        memae: in evaluation mode.
        flows: (B, 8, 32, 32), pixels (or only the last one, (B, 2, 32, 32)).

    Returns:
        ``flow_error`` and ``energy``, each (B,) float32.

    Raises:
        ValueError: the model is in training mode.
    """
    _require_eval(memae)
    last_flow = flows[:, -FLOW_CHANNELS:]
    return errors_of_reconstruction(memae(last_flow)["flow_recon"], last_flow)


def errors_of_reconstruction(flow_recon: Tensor, last_flow: Tensor) -> dict[str, Tensor]:
    """Errors from a flow (B, 2, 32, 32) and its reconstruction; see :func:`stage1_errors`."""
    return {
        "flow_error": _squared_sum(flow_recon - last_flow.float()),
        "energy": _squared_sum(last_flow),
    }


def _steady(energies: Tensor) -> Tensor:
    """Energies (B,T) of each flow to a sum (B,) in which the largest and least do not count."""
    count = energies.shape[1]
    middle = energies.sum(1) - energies.amin(1) - energies.amax(1)
    return middle * (count / (count - 2))


def _squared_sum(x: Tensor) -> Tensor:
    return x.float().square().sum(dim=(1, 2, 3))


def _require_eval(model: torch.nn.Module) -> None:
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before scoring")
