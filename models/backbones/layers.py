"""The first part of a backbone: features from one of its inner layers.

The first layers of a network trained on ImageNet tell texture and shape from each other, the last
ones its thousand classes; what is foreign in a scene need be none of them (PatchCore, Roth et al.,
CVPR 2022, §3.1, takes features from the middle, too).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from utils.errors import UserError

_STAGE = "stage"
_FIRST_STAGE = 2  # of blocks; stage 1 is the stem (EfficientNet, arXiv 1905.11946, Table 1)


class FirstStages(nn.Module):
    """An EfficientNet up to the end of a stage: (B,3,h,w) to (B,d,h',w').

    Args:
        network: of the package ``efficientnet_lite_pytorch``; its later blocks are dropped.
        layer: ``stage2`` to ``stage8``.

    Raises:
        UserError: another layer.
    """

    def __init__(self, network: Any, layer: str) -> None:
        super().__init__()
        ends: dict[str, int] = {}  # a stage is a run of blocks with as many channels
        channels = [block._block_args.output_filters for block in network._blocks]
        for index, count in enumerate(channels):
            if index + 1 == len(channels) or channels[index + 1] != count:
                ends[f"{_STAGE}{_FIRST_STAGE + len(ends)}"] = index + 1
        if layer not in ends:
            raise unknown_layer(layer, "efficientnet_lite0", list(ends))
        self.stem, self.normalise = network._conv_stem, network._bn0
        self.activation, self.blocks = network._swish, network._blocks[: ends[layer]]

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.activation(self.normalise(self.stem(pictures)))
        for block in self.blocks:
            features = block(features)
        return features


class _OneLayer(nn.Module):
    """A feature extractor of torchvision that returns its one layer, not a table of layers."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, pictures: Tensor) -> Tensor:
        return next(iter(self.extractor(pictures).values()))


def up_to_layer(network: nn.Module, layer: str) -> nn.Module:
    """A network of torchvision up to a layer.

    Raises:
        UserError: no such layer.
    """
    from torchvision.models.feature_extraction import (
        create_feature_extractor,
        get_graph_node_names,
    )

    try:
        return _OneLayer(create_feature_extractor(network.eval(), [layer]))
    except ValueError:
        parts = [name.split(".")[0] for name in get_graph_node_names(network)[1]]
        raise unknown_layer(layer, type(network).__name__, list(dict.fromkeys(parts))) from None


def unknown_layer(layer: str, name: str, known: Sequence[str]) -> UserError:
    """The error of a layer that a network does not have."""
    choice = f"one of {', '.join(known)}, or nothing" if known else "nothing: it gives its last"
    return UserError(f"density.appearance.layer: {name} has no layer {layer!r}; take {choice}")
