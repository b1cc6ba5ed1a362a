"""The memory module of ML-MemAE-SC: features are rebuilt from stored normal ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.mixed_attention import MixedAttention

FEW = 0.25  # of the slots: copying so many rows takes less than multiplying all


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
        return self.weigh(query @ self.slots.T)

    def weigh(self, scores: Tensor) -> Tensor:
        """Attention of the products ``scores`` (B, slots) of queries and slots, float32."""
        attention = F.softmax(scores, dim=1)
        if self.shrink_threshold > 0:
            # relu(a - t) * a / |a - t| of the paper is a above t and zero elsewhere.
            attention = F.threshold(attention, self.shrink_threshold, 0.0)
            attention = attention / attention.sum(1, keepdim=True).clamp_min(1e-12)
        return attention

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Replace ``features`` (B, C, H, W), C * H * W = num_features, by what the memory holds.

        Returns:
            The read features, shape and dtype of the input (under autocast bfloat16, channels
            last), and the attention (B, slots) float32.
        """
        query = features.float().flatten(1)
        if torch.is_autocast_enabled(query.device.type):
            read, attention = MixedAttention.apply(query, self.slots, self.weigh)
            # Contiguous rows would have all convolutions that follow rearrange their factors.
            read = read.view(features.shape).contiguous(memory_format=torch.channels_last)
            return read, attention
        attention = self.address(query)
        return self.read(attention).view(features.shape).to(features.dtype), attention

    def read(self, attention: Tensor) -> Tensor:
        """``attention`` (B, slots) times the slots: (B, num_features) float32.

        When a CPU infers, only of the slots that are in use, for after training most are not
        (an export must not depend on its example's).
        """
        infers = torch.is_inference_mode_enabled() and not torch.compiler.is_compiling()
        few = self.read_few(attention) if infers and attention.device.type == "cpu" else None
        return attention @ self.slots if few is None else few

    def read_few(self, attention: Tensor) -> Tensor | None:
        """What :meth:`read` says, from the slots that are in use, if they are few."""
        used = self.used(attention)
        return None if used is None else attention[:, used] @ self.slots[used]

    @staticmethod
    def used(attention: Tensor) -> Tensor | None:
        """Numbers of the slots that any row of ``attention`` (B, slots) has, if they are few."""
        used = attention.any(dim=0).nonzero().flatten()
        return used if len(used) <= attention.shape[1] * FEW else None
