"""HF2-VAD once more, from the published formulas alone: plain functions of tensors, in float64.

It shares no line with ``models`` and ``losses``: what both agree on was read twice from the papers
(arXiv 2108.06852; arXiv 1804.04694 for the VUNet). Weights have their published names and are made
where they are first used, so the names and shapes are the formulas' own.

Below, ``w`` is ``Weights``; x is (B, C, H, W); f, nf and nf0 are ``feature_root``, ``nf_max`` and
``nf_start``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Sizes:
    """A small model."""

    f: int = 2
    slots: int = 7
    shrink: float = 0.13
    mem_usage: tuple[bool, ...] = (False, True, True, True)
    skips: tuple[str, ...] = ("none", "concat", "concat")
    nf: int = 8
    nf0: int = 4
    plain: bool = False  # "final_act"


@dataclass
class Weights:
    """Tensors by published name: random numbers that the name and the seed decide.

    ``training``: BatchNorm uses its batch's moments and moves the running ones.
    """

    seed: int = 0
    training: bool = False
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        """The tensor of a name, uniform in [low, high] when it is new."""
        if name not in self.tensors:
            rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            values = rng.uniform(low, high, shape).astype(np.float32)  # exact in either precision
            self.tensors[name] = torch.from_numpy(values).double().requires_grad_()
        return self.tensors[name]

    def published(self) -> dict[str, Tensor]:
        """The state dict as a published checkpoint holds it."""
        state = {name: tensor.detach().float() for name, tensor in self.tensors.items()}
        counters = [name.replace("running_mean", "num_batches_tracked")
                    for name in state if name.endswith("running_mean")]  # fmt: skip
        return state | {name: torch.tensor(0) for name in counters}


def conv(
    w: Weights, name: str, x: Tensor, out: int, size: int, stride: int = 1, power: float = 2
) -> Tensor:
    """A convolution; its outputs have ``power`` times the variance of its inputs."""
    bound = (3 * power / (x.shape[1] * size * size)) ** 0.5
    weight = w(f"{name}.weight", out, x.shape[1], size, size, low=-bound, high=bound)
    return F.conv2d(x, weight, w(f"{name}.bias", out, low=-0.2, high=0.2), stride, size // 2)


def batch_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Momentum 0.1; the running variance is the unbiased one."""
    channels = x.shape[1]
    gain, shift = (
        w(f"{name}.weight", channels, low=0.5, high=1.5),
        w(f"{name}.bias", channels, low=-0.2, high=0.2),
    )
    mean = w(f"{name}.running_mean", channels, low=-0.2, high=0.2)
    variance = w(f"{name}.running_var", channels, low=0.5, high=2.0)
    if w.training:
        running, count = (mean, variance), x.numel() / channels
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        news = (mean, variance * count / (count - 1))
        for old, new in zip(running, news, strict=True):
            old.data = 0.9 * old.data + 0.1 * new.detach()
    column = (1, -1, 1, 1)
    x = (x - mean.view(column)) / (variance.view(column) + 1e-5).sqrt()
    return x * gain.view(column) + shift.view(column)


def double_conv(w: Weights, name: str, x: Tensor, out: int) -> Tensor:
    for number in (0, 3):
        x = conv(w, f"{name}.conv.{number}", x, out, 3)
        x = batch_norm(w, f"{name}.conv.{number + 1}", x).clamp(min=0)
    return x


def memory(w: Weights, name: str, x: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Softmax over the slots, hard shrinkage as the paper writes it, rows of sum 1."""
    query = x.flatten(1)
    bound = 6 * query.shape[1] ** -0.5
    slots = w(f"{name}.memMatrix", sizes.slots, query.shape[1], low=-bound, high=bound)
    a = torch.softmax(query @ slots.T, dim=1)
    if sizes.shrink > 0:
        over = a - sizes.shrink
        a = over.clamp(min=0) * a / (over.abs() + 1e-12)
        a = a / a.abs().sum(1, keepdim=True).clamp(min=1e-12)
    return (a @ slots).view(x.shape), a


def autoencoder(w: Weights, sizes: Sizes, flow: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """One flow (B, 2, 32, 32): its reconstruction and the attention of each memory in use."""
    encoded = [double_conv(w, "memAE.in_conv.conv", flow, sizes.f)]
    for level in (1, 2, 3):
        channels = sizes.f * 2**level
        x = conv(w, f"memAE.down_{level}.mpconv.0", encoded[-1], channels, 3, stride=2)
        encoded.append(double_conv(w, f"memAE.down_{level}.mpconv.1", x, channels))
    attention, x = {}, encoded[3]
    for level in (3, 2, 1):
        if sizes.mem_usage[level]:
            x, attention[level] = memory(w, f"memAE.mem{level}", x, sizes)
        name, channels = f"memAE.up_{level}", x.shape[1] // 2
        kernel = w(f"{name}.up.weight", x.shape[1], channels, 3, 3, low=-0.4, high=0.4)
        bias = w(f"{name}.up.bias", channels, low=-0.2, high=0.2)
        x = F.conv_transpose2d(x, kernel, bias, stride=2, padding=1, output_padding=1)
        if sizes.skips[level - 1] == "concat":
            x = torch.cat([encoded[level - 1], x], dim=1)
        x = double_conv(w, f"{name}.conv", x, channels)
    return conv(w, "memAE.out_conv.conv", x, 2, 1), attention


def norm_conv(
    w: Weights, sizes: Sizes, name: str, x: Tensor, out: int, size: int, stride: int = 1
) -> Tensor:
    """Weight-normalised convolution, a gain and a shift for each channel."""
    if sizes.plain:
        return conv(w, name, x, out, size, stride, power=0.5)
    direction = w(f"{name}.conv.weight_v", out, x.shape[1], size, size)
    length = w(f"{name}.conv.weight_g", out, 1, 1, 1, low=0.5, high=1.2)
    norm = direction.flatten(1).square().sum(1).sqrt().view(-1, 1, 1, 1)
    bias = w(f"{name}.conv.bias", out, low=-0.2, high=0.2)
    x = F.conv2d(x, length * direction / norm, bias, stride, size // 2)
    gamma = w(f"{name}.gamma", 1, out, 1, 1, low=0.5, high=1.5)
    return gamma * x + w(f"{name}.beta", 1, out, 1, 1, low=-0.2, high=0.2)


def res_block(w: Weights, sizes: Sizes, name: str, x: Tensor, a: Tensor | None = None) -> Tensor:
    h = x
    if a is not None:
        h = torch.cat([x, norm_conv(w, sizes, f"{name}.pre", F.elu(a), x.shape[1], 1)], dim=1)
    return x + norm_conv(w, sizes, f"{name}.conv2d", F.elu(h), x.shape[1], 3)


def to_space(x: Tensor) -> Tensor:
    """Depth to space, channels ordered (dy, dx, c)."""
    quarters = x.chunk(4, dim=1)
    out = x.new_zeros(len(x), x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3])
    for k, quarter in enumerate(quarters):
        out[:, :, k // 2 :: 2, k % 2 :: 2] = quarter
    return out


def quarters_of(x: Tensor) -> list[Tensor]:
    """Space to depth, in four parts."""
    return [x[:, :, dy::2, dx::2] for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1))]


def up(w: Weights, sizes: Sizes, name: str, x: Tensor, out: int) -> Tensor:
    return to_space(norm_conv(w, sizes, name, x, 4 * out, 3))


def encoder(w: Weights, sizes: Sizes, name: str, x: Tensor) -> dict[str, Tensor]:
    """Features ``s{stage}_{block}``, stages at 32, 16, 8 and 4."""
    features = {}
    x = norm_conv(w, sizes, f"{name}.in_op", x, sizes.nf0, 1)
    for stage in (1, 2, 3, 4):
        if stage > 1:
            x = norm_conv(w, sizes, f"{name}.downs.s{stage}.down", x, sizes.nf, 3, stride=2)
        for block in (1, 2):
            x = res_block(w, sizes, f"{name}.blocks.s{stage}_{block}", x)
            features[f"s{stage}_{block}"] = x
    return features


Noise = Callable[[Tensor], Tensor]  # a mean -> what is added to it


def predict(
    w: Weights, sizes: Sizes, frames: Tensor, flows: Tensor, noise: Noise
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The frame (B, 3, 32, 32), posterior means and prior means at 4x4 and 8x8."""
    nf = sizes.nf

    def at(kind: str, name: str, x: Tensor, *more: Tensor) -> Tensor:
        if kind == "block":
            return res_block(w, sizes, f"vunet.{name}", x, *more)
        return norm_conv(w, sizes, f"vunet.{name}", x, nf, 1)

    phi = encoder(w, sizes, "vunet.f_phi", torch.cat([frames, flows], dim=1))
    theta = encoder(w, sizes, "vunet.e_theta", flows)
    q4 = at("block", "zc.blocks.0", at("1x1", "zc.conv1x1", phi["s4_2"]), phi["s4_2"])
    z4 = q4 + noise(q4)
    merged = at("1x1", "zc.channel_norm", torch.cat([phi["s4_1"], z4], dim=1))
    h = up(w, sizes, "vunet.zc.up.up", at("block", "zc.blocks.1", q4, merged), nf)
    q8 = at("block", "zc.blocks.2", h, phi["s3_2"])
    z8 = q8 + noise(q8)

    h, priors = at("1x1", "bottleneck.conv1x1", theta["s4_2"]), []
    for stage, z in (("s4", z4), ("s3", z8)):
        h = at("block", f"bottleneck.blocks.{stage}_2", h, theta[f"{stage}_2"])
        start = torch.cat(quarters_of(at("block", "bottleneck.auto_blocks.0", h)), dim=1)
        parts = [at("1x1", "bottleneck.param_converter", start)]
        for k in (1, 2, 3):
            block = f"bottleneck.auto_blocks.{k}"
            parts.append(at("block", block, parts[-1], quarters_of(z)[k - 1]))
        priors.append(to_space(torch.cat(parts, dim=1)))
        merged = torch.cat([theta[f"{stage}_1"], z], dim=1)
        merged = at("1x1", f"bottleneck.channel_norm.{stage}", merged)
        h = at("block", f"bottleneck.blocks.{stage}_1", h, merged)
        if stage == "s4":
            h = up(w, sizes, "vunet.bottleneck.up.up", h, nf)

    for stage, above, channels in (("s2", "s3", nf), ("s1", "s2", sizes.nf0)):
        h = up(w, sizes, f"vunet.decoder.ups.{above}.up", h, channels)
        for block in (2, 1):
            h = at("block", f"decoder.blocks.{stage}_{block}", h, phi[f"{stage}_{block}"])
    frame = norm_conv(w, sizes, "vunet.decoder.final_layer", h, 3, 1)
    return 1 / (1 + torch.exp(-frame)), [q4, q8], priors
