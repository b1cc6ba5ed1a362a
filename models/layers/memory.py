"""The memory module of ML-MemAE-SC: features are reconstructed from stored normal ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.blocks import layout_of


class Memory(nn.Module):
    """A table of feature vectors, read by soft attention with hard shrinkage (HF2-VAD §3.1).

    Args:
        num_slots: rows of the table.
        num_features: length of a row.
        shrink_threshold: attention at or below this is dropped and the rest renormalised; 0 keeps
            all of it.
    """

    def __init__(self, num_slots: int, num_features: int, shrink_threshold: float):
        super().__init__()
        bound = num_features**-0.5
        self.slots = nn.Parameter(torch.empty(num_slots, num_features).uniform_(-bound, bound))
        self.shrink_threshold = shrink_threshold

    def address(self, query: Tensor) -> Tensor:
        """Attention (B, slots) float32 of queries (B, num_features).

        Rows are non-negative and sum to one, or are zero where no slot passes the threshold.
        """
        attention = F.softmax(query @ self.slots.T, dim=1, dtype=torch.float32)
        if self.shrink_threshold > 0:
            # relu(a - t) * a / |a - t| of the paper is a above t and zero elsewhere.
            attention = torch.where(attention > self.shrink_threshold, attention, 0.0)
            attention = attention / attention.sum(1, keepdim=True).clamp_min(1e-12)
        return attention

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Replace ``features`` (B, C, H, W), C * H * W = num_features, by what the memory holds.

        Returns:
            The read features, shape, dtype and layout of the input, and the attention (B, slots)
            float32.
        """
        attention = self.address(features.float().flatten(1))
        read = attention @ self.slots
        read = read.view(features.shape).to(features.dtype)
        return read.contiguous(memory_format=layout_of(features)), attention
