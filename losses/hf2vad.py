"""The losses of HF2-VAD's three stages: named terms, weighted in one place a stage.

Every function returns float32 scalars: the unweighted terms and ``total``, their weighted sum.
Model outputs are those of ``MLMemAESC`` and ``HF2VAD``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def memae_loss(
    output: Mapping[str, Any], flow: Tensor, lam_recon: float = 1.0, lam_sparse: float = 2e-4
) -> dict[str, Tensor]:
    """Stage 1 (HF2-VAD §3.1): rebuild the flow from few memory slots.

    Args:
        output: with ``flow_recon`` like ``flow`` and ``attention``, a list of (B, slots).
        flow: (B, C, H, W), pixels.

    Returns:
        ``recon``, ``sparsity``, ``total``.
    """
    terms = {
        "recon": F.mse_loss(output["flow_recon"].float(), flow.float()),
        "sparsity": attention_entropy(output["attention"], flow.device),
    }
    return _weighted(terms, {"recon": lam_recon, "sparsity": lam_sparse})


def cvae_loss(
    output: Mapping[str, Any],
    lam_kl: float = 1.0,
    lam_frame: float = 1.0,
    lam_grad: float = 1.0,
    intensity_loss_norm: int = 2,
    alpha: float = 1.0,
) -> dict[str, Tensor]:
    """Stage 2 (HF2-VAD §3.2): predict the frame, keep posterior and prior together.

    Args:
        output: with ``frame_pred``, ``frame_target`` (B, 3, H, W), and ``q_means``, ``p_means``.
        intensity_loss_norm: 1 for absolute, 2 for squared differences in ``frame``.
        alpha: exponent of the differences in ``grad``.

    Returns:
        ``kl``, ``frame``, ``grad``, ``total``.
    """
    predicted, target = output["frame_pred"].float(), output["frame_target"].float()
    terms = {
        "kl": kl_of_means(output["q_means"], output["p_means"]),
        "frame": (predicted - target).abs().pow(intensity_loss_norm).mean(),
        "grad": gradient_difference(predicted, target, alpha),
    }
    return _weighted(terms, {"kl": lam_kl, "frame": lam_frame, "grad": lam_grad})


def finetune_loss(
    output: Mapping[str, Any],
    flows: Tensor,
    lam_recon: float = 1.0,
    lam_sparse: float = 2e-4,
    lam_kl: float = 1.0,
    lam_frame: float = 1.0,
    lam_grad: float = 1.0,
    intensity_loss_norm: int = 2,
    alpha: float = 1.0,
) -> dict[str, Tensor]:
    """Stage 3: the terms of both stages together; ``flows`` is (B, 8, H, W), pixels.

    Returns:
        ``kl``, ``frame``, ``grad``, ``recon``, ``sparsity``, ``total``.
    """
    frame_terms = cvae_loss(output, lam_kl, lam_frame, lam_grad, intensity_loss_norm, alpha)
    flow_terms = memae_loss(output, flows, lam_recon, lam_sparse)
    return {**frame_terms, **flow_terms, "total": frame_terms["total"] + flow_terms["total"]}


def attention_entropy(attention: Sequence[Tensor], device: torch.device) -> Tensor:
    """Entropy of the attention rows (B, slots), mean over the batch, summed over memories."""
    total = torch.zeros((), device=device)
    for weights in attention:
        weights = weights.float()
        total = total - (weights * (weights + 1e-12).log()).sum(dim=1).mean()
    return total


def kl_of_means(q_means: Sequence[Tensor], p_means: Sequence[Tensor]) -> Tensor:
    """KL divergence of unit-variance Gaussians, mean over the batch, summed over scales.

    Raises:
        ValueError: there are not as many prior as posterior means (the model ran without prior).
    """
    if len(q_means) != len(p_means) or not q_means:
        raise ValueError(f"{len(q_means)} posterior but {len(p_means)} prior means: run the prior")
    scales = zip(q_means, p_means, strict=True)
    return sum(0.5 * (q.float() - p.float()).square().sum(dim=(1, 2, 3)).mean() for q, p in scales)


def gradient_difference(predicted: Tensor, target: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean of |dx - dx'|^alpha + |dy - dy'|^alpha between two images (B, C, H, W).

    Images are summed over channels and zero-padded at the left (dx) and top (dy), as published.
    """
    # Differences are linear, so those of the difference image are the differences' difference.
    difference = (predicted - target).sum(dim=1)  # (B, H, W)
    dx = F.pad(difference, (1, 0)).diff(dim=2).abs()
    dy = F.pad(difference, (0, 0, 1, 0)).diff(dim=1).abs()
    return (dx.pow(alpha) + dy.pow(alpha)).mean()


def _weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    total = sum(weight * terms[name] for name, weight in weights.items())
    return {**terms, "total": total}
