"""A backbone: pictures of any size to one feature vector each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Enlarges pictures to the network's size, normalises them and gives features.

    Args:
        network: (B,3,size,size) normalised to (B,d); to (B,d,h,w), whose places are averaged; or
            to a transformer's (B,tokens,d), whose tokens are.
        size: height and width that pictures are enlarged to.
        mean, deviation: of the channels, red first.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: int,
        mean: tuple[float, ...] = IMAGENET[0],
        deviation: tuple[float, ...] = IMAGENET[1],
    ) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Features (B,d) of pictures (B,3,h,w), RGB in [0,1]."""
        enlarged = F.interpolate(
            pictures, size=(self.size, self.size), mode="bilinear", align_corners=False
        )
        features = self.network((enlarged - self.mean) / self.deviation)
        if features.ndim == 3:
            return features.mean(dim=1)
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features
