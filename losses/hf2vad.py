"""The losses of HF2-VAD's three stages: named terms, weighted in one place.

Every loss returns float32 scalars: the unweighted terms and ``total``, their weighted sum. A new
term is a function, an entry in its stage's terms and one in ``WEIGHTS``; the weight's default
stands in ``utils.config.hf2vad`` alone. Model outputs are those of ``MLMemAESC`` and ``HF2VAD``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Term -> the key of its weight in a stage's block of the configuration.
WEIGHTS = {
    "kl": "lam_kl",
    "frame": "lam_frame",
    "grad": "lam_grad",
    "recon": "lam_recon",
    "sparsity": "lam_sparse",
}


def memae_loss(output: Mapping[str, Any], flow: Tensor, settings: Any) -> dict[str, Tensor]:
    """Stage 1 (HF2-VAD §3.1): reconstruct the flow from few memory slots.

    Args:
        output: with ``flow_recon`` like ``flow`` and ``attention``, a list of (B, slots).
        flow: (B, C, H, W), pixels.
        settings: the stage's block, or anything with its ``lam_*`` attributes.

    Returns:
        ``recon``, ``sparsity``, ``total``.
    """
    return _with_total(_memae_terms(output, flow), settings)


def cvae_loss(output: Mapping[str, Any], settings: Any) -> dict[str, Tensor]:
    """Stage 2 (HF2-VAD §3.2): predict the frame, keep posterior and prior together.

    Args:
        output: with ``frame_pred``, ``frame_target`` (B, 3, H, W), and ``q_means``, ``p_means``.
        settings: the stage's block: weights, and ``intensity_loss_norm`` (1 for absolute, 2 for
            squared differences in ``frame``) and ``alpha`` (exponent of the differences in
            ``grad``).

    Returns:
        ``kl``, ``frame``, ``grad``, ``total``.
    """
    return _with_total(_cvae_terms(output, settings), settings)


def finetune_loss(output: Mapping[str, Any], flows: Tensor, settings: Any) -> dict[str, Tensor]:
    """Stage 3: the terms of both stages together; ``flows`` is (B, 8, H, W), pixels.

    Returns:
        ``kl``, ``frame``, ``grad``, ``recon``, ``sparsity``, ``total``.
    """
    terms = _cvae_terms(output, settings) | _memae_terms(output, flows)
    return _with_total(terms, settings)


def _memae_terms(output: Mapping[str, Any], flow: Tensor) -> dict[str, Tensor]:
    return {
        "recon": F.mse_loss(output["flow_recon"].float(), flow.float()),
        "sparsity": attention_entropy(output["attention"], flow.device),
    }


def _cvae_terms(output: Mapping[str, Any], settings: Any) -> dict[str, Tensor]:
    predicted, target = output["frame_pred"].float(), output["frame_target"].float()
    return {
        "kl": kl_of_means(output["q_means"], output["p_means"]),
        "frame": (predicted - target).abs().pow(settings.intensity_loss_norm).mean(),
        "grad": gradient_difference(predicted, target, settings.alpha),
    }


def _with_total(terms: dict[str, Tensor], settings: Any) -> dict[str, Tensor]:
    weighted = [getattr(settings, WEIGHTS[name]) * term for name, term in terms.items()]
    return {**terms, "total": torch.stack(weighted).sum()}


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
    terms = [0.5 * (q.float() - p.float()).square().sum(dim=(1, 2, 3)).mean() for q, p in scales]
    return sum(terms, terms[0].new_zeros(()))


def gradient_difference(predicted: Tensor, target: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean of |dx - dx'|^alpha + |dy - dy'|^alpha between two images (B, C, H, W).

    Images are summed over channels and zero-padded at the left (dx) and top (dy), as published.
    """
    # Differences are linear, so those of the difference image are the differences' difference.
    difference = (predicted - target).sum(dim=1)  # (B, H, W)
    dx = F.pad(difference, (1, 0)).diff(dim=2).abs()
    dy = F.pad(difference, (0, 0, 1, 0)).diff(dim=1).abs()
    return (dx.pow(alpha) + dy.pow(alpha)).mean()
