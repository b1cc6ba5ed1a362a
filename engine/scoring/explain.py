"""What a model expected of cubes and which normal ones are like them, to be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.cubes.loader import to_network_inputs
from engine.scoring.density_scorer import DensityScorer
from engine.scoring.network import CubeScorer
from models.hf2vad.from_checkpoint import explain


def explain_cubes(
    model: nn.Module | None,
    scorer: CubeScorer,
    appearance: np.ndarray,
    motion: np.ndarray,
    device: torch.device,
) -> dict[str, Any]:
    """Expectations of n cubes.

    Args:
        model: of the checkpoint, if it has one.
        scorer: of the checkpoint; with densities it knows normal pictures.
        appearance: (n,5,32,32,3) uint8 BGR; motion: (n,4,32,32,2) float16, pixels.
        device: of the model.

    Returns:
        See ``models.hf2vad.from_checkpoint.explain``; with densities also
        ``DensityScorer.nearest``.
    """
    cubes = torch.from_numpy(appearance), torch.from_numpy(motion)
    shown: dict[str, Any] = explain(model, *to_network_inputs(*cubes, device))
    if isinstance(scorer, DensityScorer):
        shown |= scorer.nearest(appearance, motion)
    return shown
