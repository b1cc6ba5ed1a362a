"""FRD-UVAD once more, from the published formulas alone (IEEE TMM 2024): NumPy, item by item.

It shares no line with ``models`` and ``losses``. B items of K consecutive snippets of ``crops``
feature vectors of D values; tokens are e = D / 16 wide.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import numpy as np

TOKENS = HEADS = 16
_erf = np.vectorize(math.erf)


@dataclass
class Weights:
    """Arrays by published name: random numbers that the name and the seed decide."""

    seed: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, name: str, *shape: int, bound: float = 0.2, centre: float = 0) -> np.ndarray:
        if name not in self.arrays:
            rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            drawn = rng.uniform(centre - bound, centre + bound, shape)
            self.arrays[name] = drawn.astype(np.float32).astype(np.float64)
        return self.arrays[name]


def linear(w: Weights, name: str, x: np.ndarray, out: int, bias: bool = True) -> np.ndarray:
    size = x.shape[-1]
    x = x @ w(f"{name}.weight", out, size, bound=(3 / size) ** 0.5).T
    return x + w(f"{name}.bias", out) if bias else x


def layer_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    size = x.shape[-1]
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * w(f"{name}.weight", size, centre=1.0) + w(f"{name}.bias", size)


def position_table(size: int) -> np.ndarray:
    table = np.empty((TOKENS, size))
    for position in range(TOKENS):
        for column in range(size):
            angle = position / 10000 ** (2 * (column // 2) / size)
            table[position, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return table


def attention(w: Weights, name: str, snippets: np.ndarray, cascade: bool) -> np.ndarray:
    """(K, 16, e): snippet t is asked by itself, in a cascade by the snippet before."""
    size = snippets.shape[-1]
    q, k, v = np.split(linear(w, f"{name}.qkv", snippets, 3 * size, bias=False), 3, axis=-1)
    mixed, width = np.empty_like(snippets), size // HEADS
    for t in range(len(snippets)):
        query = q[max(t - 1, 0)] if cascade else q[t]
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            logits = query[:, part] @ k[t][:, part].T / math.sqrt(width)
            weights = np.exp(logits - logits.max(1, keepdims=True))
            weights /= weights.sum(1, keepdims=True)
            mixed[t][:, part] = weights @ v[t][:, part]
    return linear(w, f"{name}.proj", mixed, size)


def block(w: Weights, name: str, snippets: np.ndarray, cascade: bool) -> np.ndarray:
    size = snippets.shape[-1]
    normed = layer_norm(w, f"{name}.norm1", snippets)
    snippets = snippets + attention(w, f"{name}.attn", normed, cascade)
    hidden = linear(w, f"{name}.mlp.0", layer_norm(w, f"{name}.norm2", snippets), 4 * size)
    hidden = hidden * (1 + _erf(hidden / math.sqrt(2))) / 2
    return snippets + linear(w, f"{name}.mlp.2", hidden, size)


def reconstruct(w: Weights, x: np.ndarray, num_blocks: int) -> np.ndarray:
    """``x`` (B, crops, K, D), after the disruption, to its reconstruction."""
    if num_blocks == 0:
        return linear(w, "AE.decoder", np.maximum(linear(w, "AE.encoder", x, 512), 0), x.shape[-1])
    size = x.shape[-1] // TOKENS
    cascades = [False] if num_blocks == 1 else [n >= num_blocks // 2 for n in range(num_blocks)]
    result = np.empty_like(x)
    for item, crop in np.ndindex(*x.shape[:2]):
        snippets = x[item, crop].reshape(-1, TOKENS, size)
        snippets = linear(w, "decoder.decoder_embed", snippets, size) + position_table(size)
        for number, cascade in enumerate(cascades):
            name = f"decoder.decoder_blocks.{number}"
            snippets = block(w, name, snippets, cascade and len(snippets) > 1)
        result[item, crop] = layer_norm(w, "decoder.norm", snippets).reshape(x[item, crop].shape)
    return result


def score(w: Weights, x: np.ndarray, layers: dict[str, int]) -> np.ndarray:
    """(B, crops, K, D) to (B, K): linear layers with ReLU between, sigmoid, mean over crops."""
    *hidden, last = layers.items()
    for name, size in hidden:
        x = np.maximum(linear(w, name, x, size), 0)
    return (1 / (1 + np.exp(-linear(w, last[0], x, last[1])[..., 0]))).mean(axis=1)


SCORER = {"scorer.fc1": 1024, "scorer.fc2": 128, "scorer.classifier": 1}
AUXILIARY = {"scorer_c2fpl.fc1": 512, "scorer_c2fpl.fc2": 32, "scorer_c2fpl.fc3": 1}


@dataclass
class Step:
    """What one training step computes."""

    error: np.ndarray  # (B, K)
    error_labels: np.ndarray
    labels: np.ndarray  # after the auxiliary scorer
    scores: np.ndarray  # running means
    terms: dict[str, float]


def training_step(
    x: np.ndarray,
    bank: np.ndarray,
    recon: np.ndarray,
    scores: np.ndarray,
    auxiliary: np.ndarray | None,
) -> Step:
    """Errors, labels and losses; ``recon`` is of ``x`` and then of the items in ``bank``."""
    both = np.concatenate([x, bank])
    errors = np.array([[max(((r[c, k] - b[c, k]) ** 2).mean() for c in range(x.shape[1]))
                        for k in range(x.shape[2])]
                       for r, b in zip(recon, both, strict=True)])  # fmt: skip
    limit = errors.mean() + errors.std(ddof=1)
    error, bank_error = errors[: len(x)], errors[len(x) :]
    error_labels = (error >= limit).astype(float)
    labels = error_labels if auxiliary is None else error_labels * (auxiliary >= 0.5)
    running = np.array([[row[: k + 1].mean() for k in range(len(row))] for row in scores])
    entropy = -(labels * np.log(running) + (1 - labels) * np.log(1 - running)).mean()
    pushed = max(0.0, limit - bank_error.mean()) if len(bank) else 0.0
    terms = {"recon": error.mean(), "bank": pushed, "score": entropy}
    return Step(error, error_labels, labels, running, terms)


def for_the_bank(step: Step, delta: float, kind: str) -> np.ndarray:
    """Which items (B,) the latent anomaly memory bank takes."""
    limit = step.scores.mean() + delta * step.scores.std(ddof=1)
    chosen = (step.scores >= limit) & (step.labels == 1)
    return np.array([any(row) if kind == "wlab" else all(row) for row in chosen])
