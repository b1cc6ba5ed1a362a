"""State dicts in files that other projects wrote: unwrapped, checked, never unpickled freely."""

from __future__ import annotations

import codecs
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.checkpoint import load_tensors, load_weights
from utils.errors import UserError
from utils.untrusted.tensors import require_plain_tensors

# Best scores and learning rates stand beside the weights as NumPy scalars; both module names of
# NumPy 1 and 2 are in circulation.
_SCALAR = importlib.import_module("numpy._core.multiarray").scalar
_NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    codecs.encode,
    *(type(np.dtype(kind)) for kind in "bBhHiIlLqQfd?"),
]


def load_state_dict_file(path: str | Path, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint file, old or new ``torch.save`` format.

    Args:
        path: a file whose top level is a dict holding the state dict under one of ``keys``, or
            is the state dict itself.
        keys: where it may be, in order of preference.

    Returns:
        Tensors by name, on the CPU; a leading ``module.`` (many-GPU training) is dropped.

    Raises:
        UserError: missing or truncated file, more than tensors, NumPy scalars and plain
            containers in it, no state dict in it.
    """
    with torch.serialization.safe_globals(_NUMPY_SCALARS):
        content = load_tensors(path)
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in keys if key in content), content)
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        held = ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else "no dict"
        raise UserError(
            f"{path}: no weights in it; expected a dict with {' or '.join(map(repr, keys))}, "
            f"found {held}"
        )
    require_plain_tensors(state, str(path), repeated=True)
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def torchvision_model(name: str, weights: str, key: str) -> torch.nn.Module:
    """A model of torchvision with weights from a file, or by a name that torchvision knows.

    Args:
        name: from ``torchvision.models.list_models()``.
        weights: a state dict file of that model or a name (``COCO_V1``); empty: the default ones.
        key: of the configuration, which named the weights.

    Raises:
        UserError: weights that are unknown, cannot be fetched, or belong to another model.
    """
    from torchvision.models import detection, get_model, list_models

    if Path(weights).is_file():
        blank = {"weights_backbone": None} if name in list_models(module=detection) else {}
        model = get_model(name, weights=None, **blank)
        load_weights(model, load_state_dict_file(weights, ("state_dict", "model")), weights)
        return model
    try:
        return get_model(name, weights=weights or "DEFAULT")
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{key}: {weights!r} is neither a file nor weights that torchvision knows for {name}: "
            f"{error}"
        ) from None
    except OSError as error:
        raise UserError(
            f"the weights of {name} could not be fetched ({error}); save them elsewhere and name "
            f"the file in {key}"
        ) from None
