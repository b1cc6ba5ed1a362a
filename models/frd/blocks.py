"""Parts of FRD-UVAD (IEEE TMM 2024): disruption, transformer blocks, scorer, plain autoencoder.

A snippet feature of D values is read as 16 tokens of e = D/16 values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.frd.c2fpl import xavier_init

NUM_TOKENS = 16
NUM_HEADS = 16
MOST_SNIPPETS = 65_535  # in one call of attention, whose kernels on a GPU fail on more


class SnippetAttention(nn.Module):
    """Attention among the 16 tokens of one snippet, all snippets of a batch at once.

    With ``cascade`` the queries come from the snippet before, keys and values stay (cascade
    cross-attention); the first snippet of an item asks itself. For items of one snippet the two
    kinds are the same.
    """

    def __init__(self, size: int, cascade: bool) -> None:
        super().__init__()
        self.cascade = cascade
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.proj = nn.Linear(size, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (items, K, 16, e) -> the same shape."""
        items, snippets, count, size = tokens.shape
        split = self.qkv(tokens).view(items, snippets, count, 3, NUM_HEADS, size // NUM_HEADS)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5)  # each (items, K, heads, 16, e/heads)
        if self.cascade and snippets > 1:
            query = torch.cat([query[:, :1], query[:, :-1]], dim=1)
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        mixed = attend(query, key, value)  # (items*K, heads, 16, e/heads)
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of any number of snippets, each (N, heads, 16, e/heads)."""
    if len(query) <= MOST_SNIPPETS:
        return F.scaled_dot_product_attention(query, key, value)
    parts = zip(*(each.split(MOST_SNIPPETS) for each in (query, key, value)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer perceptron."""

    def __init__(self, size: int, cascade: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.attn = SnippetAttention(size, cascade)
        self.norm2 = nn.LayerNorm(size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (items, K, 16, e) -> the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class DisruptedDecoder(nn.Module):
    """Drop feature values at random (the disruption), then reconstruct them (FRD-UVAD §III-B).

    Of ``num_blocks`` blocks the first half is self-attention, the second half cascade
    cross-attention; a single block is self-attention.
    """

    def __init__(self, feature_size: int, num_blocks: int, disruption: float) -> None:
        super().__init__()
        size = feature_size // NUM_TOKENS
        first_cascade = max(1, num_blocks // 2)
        self.disruption = nn.Dropout(disruption)
        self.decoder_embed = nn.Linear(size, size)
        self.decoder_blocks = nn.ModuleList(
            Block(size, cascade=index >= first_cascade) for index in range(num_blocks)
        )
        self.norm = nn.LayerNorm(size)
        self.register_buffer("positions", sinusoid_table(size), persistent=False)
        xavier_init(self)

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (B, crops, K, D) -> reconstruction of the same shape."""
        batch, crops, snippets, size = features.shape
        tokens = features.reshape(batch * crops, snippets, NUM_TOKENS, size // NUM_TOKENS)
        tokens = self.decoder_embed(self.disruption(tokens)) + self.positions
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.norm(tokens).view(features.shape)


class PlainAutoencoder(nn.Module):
    """What reconstructs without a transformer (zero blocks): D -> 512 -> D, nothing disrupted."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(feature_size, 512)
        self.decoder = nn.Linear(512, feature_size)
        xavier_init(self)

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (..., D) -> reconstruction of the same shape."""
        return self.decoder(torch.relu(self.encoder(features)))


class Scorer(nn.Module):
    """The anomaly scorer, the only part that runs at test time.

    Attributes:
        scale: what features are divided by, see ``models.frd.frd.FRD.set_scale``.
    """

    scale: Tensor

    def __init__(self, feature_size: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_size, 1024)
        self.fc2 = nn.Linear(1024, 128)
        self.classifier = nn.Linear(128, 1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("scale", torch.ones(()), persistent=False)
        xavier_init(self)

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (B, crops, K, D) -> (B, K) scores in (0, 1), averaged over the crops."""
        hidden = self.dropout(torch.relu(self.fc1(features / self.scale)))
        hidden = self.dropout(torch.relu(self.fc2(hidden)))
        return torch.sigmoid(self.classifier(hidden)).squeeze(-1).mean(dim=1)


def sinusoid_table(size: int) -> Tensor:
    """Fixed position table (16, size) float32: sine on even columns, cosine on odd ones."""
    position = torch.arange(NUM_TOKENS, dtype=torch.float64)[:, None]
    column = torch.arange(size, dtype=torch.float64)
    angle = position / 10000 ** (2 * torch.div(column, 2, rounding_mode="floor") / size)
    even = torch.arange(size) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float()
