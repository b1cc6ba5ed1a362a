"""The part of FRD-UVAD that scores at test time, and C2FPL's scorer, out of checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.frd.blocks import Scorer
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from utils.checkpoint import load_finished, load_tensors, load_weights
from utils.errors import UserError
from utils.pretrained import load_state_dict_file

PUBLISHED_PARTS = ("decoder.", "AE.", "scorer.", "scorer_c2fpl.")
_UNUSED = "fc_att"  # C2FPL's attention layers, which no forward pass uses


def read_frd_checkpoint(path: str | Path, content: Any = None) -> dict[str, Any]:
    """Read a checkpoint to score with: ours, or a published bare state dict.

    Args:
        path: the file.
        content: what ``load_tensors`` read from it; ``None``: it is read here.

    Returns:
        Our checkpoint as it is; of a published file ``stage`` (``frd``, or ``c2fpl`` for C2FPL's
        own), ``model`` (its tensors) and ``config`` ``None``.

    Raises:
        UserError: missing or foreign file, or training that was not finished.
    """
    if isinstance(content, dict) and "format_version" in content:
        return load_finished(path, system="frd", content=content)
    state = load_state_dict_file(path, keys=("model", "model_state_dict", "state_dict"))
    if "format_version" in (content := load_tensors(path)):
        return load_finished(path, system="frd", content=content)
    if "fc1.weight" in state and "fc3.weight" in state:
        return {"stage": "c2fpl", "model": state, "config": None}
    foreign = [key for key in state if not key.startswith(PUBLISHED_PARTS)]
    if foreign:
        raise UserError(
            f"{path}: not a checkpoint of FRD-UVAD: it holds {foreign[0]!r}, but published ones "
            f"hold {', '.join(f'{part}*' for part in PUBLISHED_PARTS)} only"
        )
    return {"stage": "frd", "model": state, "config": None}


def scorer_from_checkpoint(checkpoint: Mapping[str, Any], source: str) -> nn.Module:
    """What scores in a checkpoint from ``read_frd_checkpoint``, in evaluation mode.

    Returns:
        A module that maps (B, crops, K, D) to (B, K) in (0, 1); its ``fc1.in_features`` is D.

    Raises:
        UserError: no scorer in it, or weights of another architecture.
    """
    if checkpoint["stage"] == "c2fpl":
        scorer = _load(C2FPLScorer, checkpoint["model"], "", source)
        mean = checkpoint.get("feature_mean")  # where it was trained on centred features
        if mean is not None:
            buffer = scorer.get_buffer("mean")
            if mean.shape != buffer.shape or not mean.is_floating_point():
                raise UserError(
                    f"{source}: its feature_mean is {mean.dtype} of shape {tuple(mean.shape)}, but "
                    f"its scorer takes {tuple(buffer.shape)}; train that stage again"
                )
            buffer.copy_(mean)
        return scorer
    scorer = _load(Scorer, checkpoint["model"], "scorer.", source)
    scorer.get_buffer("scale").fill_(checkpoint.get("feature_scale", 1.0))
    return scorer


def reconstructor_from_checkpoint(checkpoint: Mapping[str, Any], source: str) -> FRD | None:
    """The whole FRD-UVAD of a checkpoint, in evaluation mode; ``None`` where only a scorer is held.

    Raises:
        UserError: weights of another architecture.
    """
    state = checkpoint["model"]
    prefix = "decoder.decoder_blocks."
    blocks = {key.split(".")[2] for key in state if key.startswith(prefix)}
    if checkpoint["stage"] != "frd" or (not blocks and "AE.encoder.weight" not in state):
        return None
    model = FRD(state["scorer.fc1.weight"].shape[1], len(blocks))
    # Published files hold the plain autoencoder whatever reconstructs, and the auxiliary scorer.
    own = {key: value for key, value in state.items() if key in model.state_dict()}
    load_weights(model, own, source)
    model.set_scale(checkpoint.get("feature_scale", 1.0))
    return model.eval()


@torch.inference_mode()
def score_batch(
    scorer: nn.Module, reconstructor: FRD | None, features: Tensor
) -> dict[str, Tensor]:
    """What single snippets are scored by.

    Args:
        features: (B, crops, 1, D) on the models' device.

    Returns:
        Each (B,): ``score``; ``reconstruction``, the error, where there is a reconstructor;
        ``feature_norm``, the squared length averaged over crops, for which nothing is learned.
    """
    values = {"score": scorer(features)[:, 0]}
    if reconstructor is not None:
        error = (reconstructor.reconstruct(features) - features).square().mean(dim=-1)
        values["reconstruction"] = error.amax(dim=1)[:, 0]
    values["feature_norm"] = features.square().sum(dim=-1).mean(dim=1)[:, 0]
    return values


def read_auxiliary(path: str | Path) -> dict[str, Any]:
    """C2FPL's scorer out of our stage c2fpl, of C2FPL's own file or of FRD-UVAD's.

    Returns:
        As ``read_frd_checkpoint``, of stage ``c2fpl``.

    Raises:
        UserError: missing or foreign file, or no such scorer in it.
    """
    checkpoint = read_frd_checkpoint(path)
    if checkpoint["stage"] == "c2fpl":
        return checkpoint
    prefix = "scorer_c2fpl."
    state = checkpoint["model"]
    part = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    return {"stage": "c2fpl", "model": part, "config": None}


def _load(
    kind: type[nn.Module], state: Mapping[str, Tensor], prefix: str, source: str
) -> nn.Module:
    part = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix) and _UNUSED not in key
    }
    if "fc1.weight" not in part or part["fc1.weight"].ndim != 2:
        raise UserError(
            f"{source}: no '{prefix}fc1.weight' in it, so no {kind.__name__}; "
            "take the checkpoint of a stage that has one"
        )
    scorer = kind(part["fc1.weight"].shape[1])
    load_weights(scorer, part, source)
    return scorer.eval()
