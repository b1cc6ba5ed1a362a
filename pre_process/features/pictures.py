"""The appearance backbone of the densities as a snippet feature extractor (EfficientNet-Lite0).

A picture network has no motion: frames of a snippet are described one by one and averaged. As crops
serve, besides the centre and the ten of ``pre_process.features.crops``, a grid of nine patches: a
small object fills more of a patch than of a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.backbones.build import build_backbone
from pre_process.features.network import NetworkBackbone

MOST_FRAMES = 4  # of a snippet, evenly spaced; neighbours look alike
PATCHES = 9  # number of crops that stands for the grid
# Side of the resized frame and of a crop. A patch takes 0.4 of the frame's sides, so that
# neighbours share a quarter: what the edge of one cuts is whole in the next.
_CENTRE, _GRID = (256, 224), ((320, 320), 128)


class PicturesOfSnippet(nn.Module):
    """Applies a picture network to frames of clips: (n, 3, T, h, w) to (n, D), their mean."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """``clips`` normalised RGB."""
        count = min(clips.shape[2], MOST_FRAMES)
        places = torch.linspace(0, clips.shape[2] - 1, count).round().long()
        pictures = clips[:, :, places].transpose(1, 2).flatten(0, 1)  # (n * count, 3, h, w)
        features = self.network(pictures)
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return features.unflatten(0, (len(clips), count)).mean(dim=1)


def build_pictures(
    name: str, weights: str, crops: int, frames: int, device: torch.device
) -> NetworkBackbone:
    """A picture network of ``models.backbones`` without its classifier.

    Args:
        name: ``efficientnet_lite0``, whose weights come with a package.
        weights: a file with the state dict; empty: those of the package.
        crops: 1, 9 (patches) or 10.

    Raises:
        UserError: a missing package, or weights that are not there or do not fit.
    """
    backbone = build_backbone(name, weights)
    resize, crop = _GRID if crops == PATCHES else ((_CENTRE[0],), _CENTRE[1])
    return NetworkBackbone(
        PicturesOfSnippet(backbone.network),
        resize=resize,
        crop=crop,
        mean=backbone.mean.flatten().tolist(),
        deviation=backbone.deviation.flatten().tolist(),
        crops=crops,
        frames=frames,
        device=device,
    )
