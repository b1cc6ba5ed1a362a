"""Convolutions of a finished model with what stands around them, and who computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.blocks import depth_to_space


class Prepared(nn.Module):
    """A layer that keeps its weights once more, in the order that its kernels want.

    Made when first needed; never copied, saved or sent to another process, which may have another
    processor.
    """

    prepared: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "prepared"}


@dataclass(frozen=True)
class Around:
    """What stands around a convolution of ``x`` (B, in, H, W) to (B, out, H', W').

    Args:
        elu: apply ELU to the input first.
        beside: (B, in', H, W), more channels of the input.
        added: (B, out, H', W'), to add to the result.
        relu: replace negative results by 0.
        upscale: 2 spreads the result's channels over 2 x 2 pixels: ``blocks.depth_to_space``.
    """

    elu: bool = False
    beside: Tensor | None = None
    added: Tensor | None = None
    relu: bool = False
    upscale: int = 1


NOTHING = Around()


class CpuConv2d(Prepared):
    """A convolution that has a way of its own on a CPU; base of those that do.

    They map ``x`` and what is :class:`Around` it to the result. They take ``conv`` itself where
    they must: on a GPU, in another precision, for an export, for sizes that do not suit, and where
    torch has several threads, for this has one (:mod:`models.cpu.parts` gives each thread work).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv


def convolve_and(conv: nn.Module, x: Tensor, **around: Any) -> Tensor:
    """``conv(x)``, any convolution, with what :class:`Around` names, in one go where it can."""
    if isinstance(conv, CpuConv2d):
        return conv(x, Around(**around))
    return one_by_one(conv, x, Around(**around))


def one_by_one(conv: nn.Module, x: Tensor, around: Around) -> Tensor:
    """What :func:`convolve_and` says, as torch's own operations."""
    x = x if around.beside is None else torch.cat([x, around.beside], dim=1)
    y = conv(F.elu(x) if around.elu else x)
    if around.added is not None:
        y = y + around.added
    y = F.relu(y, inplace=True) if around.relu else y
    return y if around.upscale == 1 else depth_to_space(y)


def alone(x: Tensor) -> bool:
    """Whether ``x`` is float32 on a CPU, for one thread, and nobody exports or learns."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and torch.get_num_threads() == 1
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def channels_last(x: Tensor) -> np.ndarray:
    """(B, C, H, W) as an array (B, H, W, C), contiguous; copied only where it is not already."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
