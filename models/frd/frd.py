"""FRD-UVAD: feature reconstruction with disruption for unsupervised detection (IEEE TMM 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.frd.blocks import DisruptedDecoder, PlainAutoencoder, Scorer
from utils.errors import UserError

BLOCK_COUNTS = (0, 1, 2, 4, 6, 8)


class FRD(nn.Module):
    """Reconstruct disrupted snippet features, and score snippets.

    Args:
        feature_size: D, a multiple of 256 (16 tokens of a multiple of 16 values: 16 heads).
        num_blocks: transformer blocks, one of 0 (plain autoencoder), 1, 2, 4, 6, 8.
        disruption: share of feature values dropped before the reconstruction.
        dropout: of the scorer.

    Raises:
        UserError: a feature size or block count that the model does not exist for.
    """

    scale: Tensor

    def __init__(
        self,
        feature_size: int = 2048,
        num_blocks: int = 8,
        disruption: float = 0.5,
        dropout: float = 0.7,
    ) -> None:
        super().__init__()
        check_model_size(feature_size, num_blocks)
        self.feature_size = feature_size
        if num_blocks == 0:
            self.AE = PlainAutoencoder(feature_size)
        else:
            self.decoder = DisruptedDecoder(feature_size, num_blocks, disruption)
        self.scorer = Scorer(feature_size, dropout)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def set_scale(self, scale: float) -> None:
        """Divide all features by ``scale``, the training features' root mean square.

        The reconstruction ends in a LayerNorm of gain 1. AdamW moves a gain by about the learning
        rate a step, and until it has arrived at the features' scale, larger features have smaller
        errors. The scale is no part of the state dict; as published it is 1.
        """
        self.scale.fill_(scale)
        self.scorer.scale.fill_(scale)

    @property
    def gain(self) -> float | None:
        """Mean scale of reconstructions before their bias; the autoencoder has none."""
        if not hasattr(self, "decoder"):
            return None
        return float(self.decoder.norm.weight.detach().mean() * self.scale)

    def reconstruct(self, features: Tensor) -> Tensor:
        """Disrupt (in train mode) and reconstruct ``features`` (B, crops, K, D)."""
        reconstruct: nn.Module = self.decoder if hasattr(self, "decoder") else self.AE
        return reconstruct(features / self.scale) * self.scale

    def forward(self, features: Tensor, num_bank: int = 0) -> dict[str, Tensor]:
        """Everything a training step needs.

        Args:
            features: (B + M, crops, K, D) float; the last M = ``num_bank`` items come from the
                anomaly memory bank: they are reconstructed and not scored.

        Returns:
            ``reconstruction`` (B + M, crops, K, D) and ``scores`` (B, K).
        """
        batch = features[: len(features) - num_bank]
        return {"reconstruction": self.reconstruct(features), "scores": self.scorer(batch)}


def check_model_size(feature_size: int, num_blocks: int) -> None:
    """Raise ``UserError`` for a feature size or block count that FRD-UVAD cannot have."""
    if feature_size < 256 or feature_size % 256:
        raise UserError(
            f"model.feature_size: {feature_size} does not work: FRD-UVAD reads a feature as 16 "
            "tokens of a multiple of 16 values, so it must be a multiple of 256 "
            "(256, 512, 1024, 2048, ...); extract features of such a size"
        )
    if num_blocks not in BLOCK_COUNTS:
        raise UserError(f"model.num_blocks: {num_blocks} must be one of {BLOCK_COUNTS}")
