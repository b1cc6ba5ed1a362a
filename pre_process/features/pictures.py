"""The appearance backbone of the densities as a snippet feature extractor (EfficientNet-Lite0).

A picture network has no motion: frames of a snippet are described one by one and averaged. As crops
serve, besides the centre and the ten of ``pre_process.features.crops``, a grid of nine patches: a
small object fills more of a patch than of a frame.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.scoring.openvino_backend import CompiledModule
from models.backbones.build import build_backbone
from pre_process.features.network import NetworkBackbone

MOST_FRAMES = 4  # of a snippet, evenly spaced; neighbours look alike
PATCHES = 9  # number of crops that stands for the grid
# Side of the resized frame and of a crop. A patch takes 0.4 of the frame's sides, so that
# neighbours share a quarter: what the edge of one cuts is whole in the next.
_CENTRE, _GRID = (256, 224), ((320, 320), 128)


class PicturesOfSnippet(nn.Module):
    """Applies a picture network to frames of clips: (n, 3, T, h, w) to (n, D), their mean.

    Args:
        describe: maps pictures (n, 3, h, w) to (n, D).
    """

    def __init__(self, describe: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.describe = describe

    def forward(self, clips: Tensor) -> Tensor:
        """``clips`` normalised RGB."""
        pictures = clips.transpose(1, 2).flatten(0, 1)  # (n * T, 3, h, w)
        return self.describe(pictures).unflatten(0, (len(clips), -1)).mean(dim=1)


class _MeanOfPlaces(nn.Module):
    """A picture network whose features are averaged over the picture; a tuple, as traced."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        features = self.network(pictures)
        return (features.mean(dim=(2, 3)) if features.ndim == 4 else features,)


def build_pictures(
    name: str, weights: str, crops: int, frames: int, device: torch.device
) -> NetworkBackbone:
    """A picture network of ``models.backbones`` without its classifier.

    On a CPU it is compiled by OpenVINO, in float32: half the time of PyTorch's.

    Args:
        name: ``efficientnet_lite0``, whose weights come with a package.
        weights: a file with the state dict; empty: those of the package.
        crops: 1, 9 (patches) or 10.

    Raises:
        UserError: a missing package, or weights that are not there or do not fit.
    """
    backbone = build_backbone(name, weights)
    resize, crop = _GRID if crops == PATCHES else ((_CENTRE[0],), _CENTRE[1])
    network = _MeanOfPlaces(backbone.network).to(device)
    run: Callable[[Tensor], list[Tensor] | tuple[Tensor]] = network
    if device.type == "cpu":
        run = CompiledModule(network, [torch.zeros(2, 3, crop, crop)])
    return NetworkBackbone(
        PicturesOfSnippet(lambda pictures: run(pictures)[0]),
        resize=resize,
        crop=crop,
        mean=backbone.mean.flatten().tolist(),
        deviation=backbone.deviation.flatten().tolist(),
        crops=crops,
        frames=frames,
        device=device,
        most_frames=MOST_FRAMES,
    )
