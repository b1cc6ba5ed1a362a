"""Stages, losses and scores of HF2-VAD around the networks of ``plain_hf2vad``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.helpers.plain_hf2vad import Noise, Sizes, Weights, autoencoder, predict


@dataclass
class Result:
    """What the whole model makes of cubes."""

    recon: Tensor  # (B, 8, 32, 32)
    attention: dict[int, Tensor]  # level -> (4B, slots), the four flows one after another
    frame: Tensor
    q: list[Tensor]
    p: list[Tensor]


def whole_model(
    w: Weights, sizes: Sizes, frames: Tensor, flows: Tensor, noise: Noise = torch.zeros_like
) -> Result:
    """Each of the four flows is reconstructed by itself, and the predictor sees those."""
    passes = [autoencoder(w, sizes, flows[:, 2 * k : 2 * k + 2]) for k in range(4)]
    recon = torch.cat([flow for flow, _ in passes], dim=1)
    attention = {level: torch.cat([a[level] for _, a in passes]) for level in passes[0][1]}
    return Result(recon, attention, *predict(w, sizes, frames[:, :12], recon, noise))


def frame_terms(result: Result, target: Tensor, power: int = 2, alpha: int = 1) -> dict:
    """Stage 2: KL, intensity and gradient difference."""
    kl = sum((0.5 * (q - p) ** 2).sum() / len(q) for q, p in zip(result.q, result.p, strict=True))
    intensity = ((result.frame - target).abs() ** power).mean()
    edges = []
    for image in (result.frame, target):
        grey = image.sum(dim=1)
        left, above = torch.zeros_like(grey), torch.zeros_like(grey)
        left[:, :, 1:], above[:, 1:] = grey[:, :, :-1], grey[:, :-1]
        edges.append((grey - left, grey - above))
    (dx, dy), (target_dx, target_dy) = edges
    grad = ((dx - target_dx).abs() ** alpha + (dy - target_dy).abs() ** alpha).mean()
    return {"kl": kl, "frame": intensity, "grad": grad}


def flow_terms(recon: Tensor, flow: Tensor, attention: dict[int, Tensor]) -> dict:
    """Stage 1: squared error and the entropy of each memory's attention."""
    entropies = [-(a * torch.log(a + 1e-12)).sum(dim=1).mean() for a in attention.values()]
    return {"recon": ((recon - flow) ** 2).mean(), "sparsity": sum(entropies)}
