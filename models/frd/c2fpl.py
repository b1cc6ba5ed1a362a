"""The scorer of C2FPL (arXiv 2310.17650): snippet features to anomaly scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class C2FPLScorer(nn.Module):
    """Three linear layers, the crops' scores averaged.

    The published model carries two attention layers (``fc_att1``, ``fc_att2``) that its forward
    pass never uses; they are left out here and ignored when a published file is read.

    Attributes:
        mean: (D,) subtracted from every feature; zero as published. Features of real networks share
            a large mean, along which the first layer learns "long feature: normal" whenever few
            labels are 1. It is no part of the state dict.
    """

    mean: Tensor

    def __init__(self, feature_size: int, dropout: float = 0.6) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_size, 512)
        self.fc2 = nn.Linear(512, 32)
        self.fc3 = nn.Linear(32, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.zeros(feature_size), persistent=False)
        xavier_init(self)

    def forward(self, features: Tensor) -> Tensor:
        """Score snippets.

        Args:
            features: (B, crops, K, D) float.

        Returns:
            (B, K) scores in (0, 1).
        """
        hidden = self.dropout(torch.relu(self.fc1(features - self.mean)))
        hidden = self.dropout(torch.relu(self.fc2(hidden)))
        return torch.sigmoid(self.fc3(hidden)).squeeze(-1).mean(dim=1)


def xavier_init(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases on every linear layer, as both papers' code does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
