"""3x3 convolutions of a finished model by Winograd's method, where that is faster: on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 4
FEWEST_CHANNELS = 32  # in and out; products of fewer are too small to gain anything
# Tiles worked on together. Where the weights fit into a core's cache beside them, half as many.
TILES = 128
SMALL_WEIGHTS = 128 * 64
# G of F(4x4, 3x3), times 24 (arXiv 1509.09308, §4.1).
_KERNEL_TRANSFORM = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    dtype=torch.float64,
)
_NOTHING = np.zeros((0, 0, 0, 0), np.float32)


class WinogradConv2d(nn.Module):
    """As the convolution ``conv``, for inference; equal to about 1e-5 of the values' size.

    Takes the convolution itself where it must: on a GPU, in another precision, for an export, for
    sizes that are no multiples of four, and where torch has several threads, for this has one
    (:mod:`models.parts` gives each thread work).

    Args:
        conv: 3x3, stride 1, padding 1.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._transformed: np.ndarray | None = None

    def forward(
        self, x: Tensor, elu: bool = False, added: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """(B, in, H, W) to (B, out, H, W): see :func:`convolve_and`."""
        if not _suits(x):
            return _one_by_one(self.conv, x, elu, added, relu)
        if self._transformed is None:
            self._transformed = transform_kernels(self.conv.weight)
        # Here, for Numba takes a second to load, and a GPU needs none.
        from models import winograd_kernels

        batch, channels, height, width = x.shape
        out_channels = self.conv.out_channels
        y = torch.empty((batch, out_channels, height, width), memory_format=torch.channels_last)
        tiles = TILES // 2 if channels * out_channels <= SMALL_WEIGHTS else TILES
        winograd_kernels.convolve(
            _channels_last(x).reshape(batch, height, width * channels),
            elu,
            self._transformed,
            self.conv.bias.detach().numpy(),
            _NOTHING if added is None else _channels_last(added),
            relu,
            _channels_last(y),
            max(1, tiles * TILE * TILE // (height * width)),
        )
        return y


def _suits(x: Tensor) -> bool:
    """Whether ``x`` (B, C, H, W) is something that the kernels take."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and x.shape[2] % TILE == 0
        and x.shape[3] % TILE == 0
        and torch.get_num_threads() == 1
    )


def with_winograd(conv: nn.Conv2d) -> nn.Module:
    """``conv`` itself, or what computes the same faster on a CPU (where Numba is installed)."""
    plain = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1)
    wide = min(conv.in_channels, conv.out_channels) >= FEWEST_CHANNELS
    suitable = plain and wide and conv.bias is not None and find_spec("numba") is not None
    return WinogradConv2d(conv) if suitable else conv


def uses_winograd(model: nn.Module) -> bool:
    """Whether any layer of ``model`` may compute that way."""
    return any(isinstance(module, WinogradConv2d) for module in model.modules())


def convolve_and(
    conv: nn.Module,
    x: Tensor,
    elu: bool = False,
    added: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """``conv(x)`` with what stands around it, in one go where ``conv`` can.

    Args:
        conv: any convolution.
        x: (B, in, H, W).
        elu: apply ELU to ``x`` first.
        added: (B, out, H, W), to add to the result.
        relu: replace negative results by 0, last of all.
    """
    if isinstance(conv, WinogradConv2d):
        return conv(x, elu, added, relu)
    return _one_by_one(conv, x, elu, added, relu)


def transform_kernels(weight: Tensor) -> np.ndarray:
    """G g G^T of (out, in, 3, 3): (36, in, out) float32."""
    out_channels, in_channels = weight.shape[:2]
    both = torch.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM) / 24**2  # (36, 9)
    transformed = both @ weight.detach().double().reshape(-1, 9).T
    by_place = transformed.view(36, out_channels, in_channels).transpose(1, 2)
    return by_place.float().contiguous().numpy()


def one_thread_a_product() -> AbstractContextManager:
    """While threads of ours convolve, each multiplies by itself."""
    return _openblas().limit(limits=1)


@cache
def _openblas():
    import scipy.linalg  # noqa: F401  (its library is the one that Numba multiplies with)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")


def _one_by_one(conv: nn.Module, x: Tensor, elu: bool, added: Tensor | None, relu: bool) -> Tensor:
    y = conv(F.elu(x) if elu else x)
    if added is not None:
        y = y + added
    return F.relu(y, inplace=True) if relu else y


def _channels_last(x: Tensor) -> np.ndarray:
    """(B, C, H, W) as an array (B, H, W, C), contiguous; copied only where it is not already."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
