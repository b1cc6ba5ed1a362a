"""I3D on ResNet-50 (arXiv 1705.07750, 1711.07971): the 2048 values a snippet of UCF-Crime's sets.

Layers are named as in the weight files that circulate with these features
(``i3d_r50_kinetics.pth``), with or without non-local blocks; frames are 340x256, crops 224x224,
RGB scaled to [-1, 1].
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pre_process.features.network import NetworkBackbone
from utils.checkpoint import load_tensors, load_weights
from utils.errors import UserError

# Which blocks of each stage look three frames wide; the others look at one.
TEMPORAL = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))


class NonLocalBlock(nn.Module):
    """Every position attends to all others, spatially halved (arXiv 1711.07971)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.bn = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d((1, 2, 2))

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, T, h, w) -> the same shape."""
        pooled = self.pool(features)
        query = self.theta(features).flatten(2).transpose(1, 2)[:, None]  # (n, 1, positions, inner)
        key = self.phi(pooled).flatten(2).transpose(1, 2)[:, None]
        value = self.g(pooled).flatten(2).transpose(1, 2)[:, None]
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed[:, 0].transpose(1, 2).reshape(len(features), -1, *features.shape[2:])
        return self.bn(self.out(mixed)) + features


class Bottleneck(nn.Module):
    """1x1x1 or 3x1x1, then 1x3x3, then 1x1x1 convolution beside a shortcut."""

    def __init__(
        self, before: int, planes: int, stride: int, temporal: int, non_local: bool
    ) -> None:
        super().__init__()
        after = 4 * planes
        self.conv1 = nn.Conv3d(
            before, planes, (1 + 2 * temporal, 1, 1), padding=(temporal, 0, 0), bias=False
        )
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(
            planes, planes, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, after, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(after)
        self.downsample = (
            nn.Sequential(
                nn.Conv3d(before, after, 1, stride=(1, stride, stride), bias=False),
                nn.BatchNorm3d(after),
            )
            if stride != 1 or before != after
            else None
        )
        self.nl = NonLocalBlock(after) if non_local else None

    def forward(self, features: Tensor) -> Tensor:
        """(n, before, T, h, w) -> (n, 4 * planes, T, h / stride, w / stride)."""
        shortcut = features if self.downsample is None else self.downsample(features)
        hidden = torch.relu(self.bn1(self.conv1(features)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        features = torch.relu(self.bn3(self.conv3(hidden)) + shortcut)
        return features if self.nl is None else self.nl(features)


class I3DResNet50(nn.Module):
    """I3D ResNet-50 up to its global average pooling.

    Args:
        non_local: with non-local blocks in every second block of stages 2 and 3.
    """

    def __init__(self, non_local: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (5, 7, 7), stride=2, padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool1 = nn.MaxPool3d((2, 3, 3), stride=2)
        self.maxpool2 = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1))
        before = 64
        for stage, temporal in enumerate(TEMPORAL):
            blocks = []
            for index, wide in enumerate(temporal):
                stride = 2 if stage > 0 and index == 0 else 1
                extra = non_local and stage in (1, 2) and index % 2 == 1
                blocks.append(Bottleneck(before, 64 << stage, stride, wide, extra))
                before = 4 * (64 << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, clips: Tensor) -> Tensor:
        """(n, 3, T, 224, 224) RGB in [-1, 1] -> (n, 2048)."""
        features = self.maxpool1(torch.relu(self.bn1(self.conv1(clips))))
        for stage in range(1, 5):
            features = self.get_submodule(f"layer{stage}")(features)
            features = self.maxpool2(features) if stage == 1 else features
        return features.mean(dim=(2, 3, 4))


def build_i3d(weights: Path, crops: int, frames: int, device: torch.device) -> NetworkBackbone:
    """Load a weight file; whether it has non-local blocks is seen from its keys.

    Raises:
        UserError: missing file, or weights of another network.
    """
    state = load_tensors(weights)
    for key in ("state_dict", "model_state", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{weights}: not a state dict of I3D ResNet-50")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    network = I3DResNet50(non_local=any(".nl." in key for key in state))
    load_weights(network, state, str(weights))
    half = (0.5, 0.5, 0.5)
    return NetworkBackbone(
        network,
        resize=(256, 340),
        crop=224,
        mean=half,
        deviation=half,
        crops=crops,
        frames=frames,
        device=device,
    )
