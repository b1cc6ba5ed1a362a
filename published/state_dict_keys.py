"""Tensor names: ours and those of the published HF2-VAD checkpoints, mapped in this one place.

A name is a module path and a leaf. Below, the module paths of both sides stand side by side; the
leaves differ only in weight-normalised convolutions. The stage-1 autoencoder alone has the full
model's names without their first part.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from torch import Tensor

from utils.errors import UserError

NamePairs = Iterator[tuple[str, str]]  # (published, ours)

_OUR_STAGE1, _PUBLISHED_STAGE1 = "memae.", "memAE."
_MAX_LISTED = 20

_PLAIN_CONV_LEAVES = (("weight", "weight"), ("bias", "bias"))  # the CVAE with final_act
_NORM_CONV_LEAVES = (
    ("conv.weight_v", "direction"),
    ("conv.weight_g", "length"),
    ("conv.bias", "conv_bias"),
    ("gamma", "gamma"),
    ("beta", "beta"),
)
_BATCH_NORM_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our state dict (full model or ``MLMemAESC`` alone) to published names.

    Raises:
        UserError: a tensor has a name the published model has no place for.
    """
    return _rename(state, _ours_to_published(), _OUR_STAGE1, _PUBLISHED_STAGE1, "state dict")


def from_published(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor] | None = None,
    source: str = "published weights",
) -> dict[str, Tensor]:
    """Rename a published state dict (full model or stage 1 alone) to our names.

    Args:
        state: tensors by published name; a leading ``module.`` (many-GPU training) is dropped.
        expected: state dict of the model to fill; names and shapes are checked against it.
        source: the file, for messages.

    Returns:
        Tensors by our names; with ``expected``, ready for a strict ``load_state_dict``.

    Raises:
        UserError: unknown, missing or unexpected tensors, or shapes that differ; they are named
            by their published names.
    """
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(f"{source}: not tensors, so this is not a state dict:{_listed(others)}")
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    renamed = _rename(state, _published_to_ours(), _PUBLISHED_STAGE1, _OUR_STAGE1, source)
    if expected is not None:
        _check_against(renamed, expected, source)
    return renamed


def _rename(
    state: Mapping[str, Tensor], names: Mapping[str, str], prefix: str, new_prefix: str, source: str
) -> dict[str, Tensor]:
    is_full_model = any(key in names for key in state)
    added, removed = ("", "") if is_full_model else (prefix, new_prefix)
    unknown = [key for key in state if added + key not in names]
    if unknown:
        raise UserError(
            f"{source}: {len(unknown)} name(s) that HF2-VAD does not have:{_listed(unknown)}\n"
            "pass the weights of the full model (memAE.*, vunet.*) or of ML-MemAE-SC alone"
        )
    return {names[added + key].removeprefix(removed): tensor for key, tensor in state.items()}


def _check_against(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> None:
    faults = [f"missing {_published_name(key)}" for key in expected if key not in state]
    faults += [f"unexpected {_published_name(key)}" for key in state if key not in expected]
    for key in state.keys() & expected.keys():
        actual, needed = tuple(state[key].shape), tuple(expected[key].shape)
        if actual != needed:
            name = _published_name(key)
            faults.append(f"{name} has shape {actual}, the configured model needs {needed}")
    if faults:
        raise UserError(
            f"{source}: {len(faults)} tensor(s) do not fit the configured model:"
            f"{_listed(sorted(faults))}\n"
            "check the blocks model.memae and model.vunet against the weights, and whether these "
            "are weights of the full model or of stage 1 alone"
        )


def _published_name(ours: str) -> str:
    names = _ours_to_published()
    alone = names.get(_OUR_STAGE1 + ours, ours).removeprefix(_PUBLISHED_STAGE1)
    return names.get(ours, alone)


def _listed(lines: list[str]) -> str:
    rest = len(lines) - _MAX_LISTED
    shown = lines[:_MAX_LISTED] + ([f"... and {rest} more"] if rest > 0 else [])
    return "".join(f"\n  {line}" for line in shown)


@functools.cache
def _published_to_ours() -> dict[str, str]:
    """Every tensor any configuration of the full model can have."""
    table = {
        _PUBLISHED_STAGE1 + published: _OUR_STAGE1 + ours for published, ours in _memae_names()
    }
    for published, ours in _vunet_convs():
        for published_leaf, our_leaf in _NORM_CONV_LEAVES + _PLAIN_CONV_LEAVES:
            table[f"vunet.{published}.{published_leaf}"] = f"vunet.{ours}.{our_leaf}"
    return table


@functools.cache
def _ours_to_published() -> dict[str, str]:
    return {ours: published for published, ours in _published_to_ours().items()}


def _memae_names() -> NamePairs:
    for published, ours in _memae_convs():
        for leaf in ("weight", "bias"):
            yield f"{published}.{leaf}", f"{ours}.{leaf}"
    for published, ours in _memae_double_convs():
        for index, name in (("0", "conv1"), ("3", "conv2")):
            for leaf in ("weight", "bias"):
                yield f"{published}.{index}.{leaf}", f"{ours}.{name}.{leaf}"
        for index, name in (("1", "norm1"), ("4", "norm2")):
            for leaf in _BATCH_NORM_LEAVES:
                yield f"{published}.{index}.{leaf}", f"{ours}.{name}.{leaf}"
    for level in (1, 2, 3):
        yield f"mem{level}.memMatrix", f"memory{level}.slots"


def _memae_convs() -> NamePairs:
    yield "out_conv.conv", "out_conv"
    for level in (1, 2, 3):
        yield f"down_{level}.mpconv.0", f"down{level}.down"
        yield f"up_{level}.up", f"up{level}.upsample"


def _memae_double_convs() -> NamePairs:
    yield "in_conv.conv.conv", "in_block"
    for level in (1, 2, 3):
        yield f"down_{level}.mpconv.1.conv", f"down{level}.block"
        yield f"up_{level}.conv.conv", f"up{level}.block"


def _vunet_convs() -> NamePairs:
    for published, ours in (("f_phi", "both_encoder"), ("e_theta", "flow_encoder")):
        yield f"{published}.in_op", f"{ours}.stem"
        for stage in (1, 2, 3, 4):
            yield f"{published}.downs.s{stage}.down", f"{ours}.stage{stage}.down"
            for block in (1, 2):
                source = f"{published}.blocks.s{stage}_{block}.conv2d"
                yield source, f"{ours}.stage{stage}.block{block}.conv"
    yield from _OTHER_CONVS
    for published, ours in _SKIP_BLOCKS:
        yield f"{published}.conv2d", f"{ours}.conv"
        yield f"{published}.pre", f"{ours}.skip_conv"


_OTHER_CONVS = (
    ("zc.conv1x1", "posterior.stem"),
    ("zc.channel_norm", "posterior.merge_latent4"),
    ("zc.up.up", "posterior.up.conv"),
    ("bottleneck.conv1x1", "bottleneck.stem"),
    ("bottleneck.channel_norm.s4", "bottleneck.stage4.merge_latent"),
    ("bottleneck.channel_norm.s3", "bottleneck.stage3.merge_latent"),
    ("bottleneck.up.up", "bottleneck.up.conv"),
    ("bottleneck.auto_blocks.0.conv2d", "bottleneck.prior_mean.start.conv"),
    ("bottleneck.param_converter", "bottleneck.prior_mean.to_first"),
    ("decoder.ups.s3.up", "decoder.stage2.up.conv"),
    ("decoder.ups.s2.up", "decoder.stage1.up.conv"),
    ("decoder.final_layer", "decoder.final"),
)
_SKIP_BLOCKS = (
    ("zc.blocks.0", "posterior.mean4"),
    ("zc.blocks.1", "posterior.refine4"),
    ("zc.blocks.2", "posterior.mean8"),
    ("bottleneck.blocks.s4_2", "bottleneck.stage4.block_in"),
    ("bottleneck.blocks.s4_1", "bottleneck.stage4.block_out"),
    ("bottleneck.blocks.s3_2", "bottleneck.stage3.block_in"),
    ("bottleneck.blocks.s3_1", "bottleneck.stage3.block_out"),
    ("bottleneck.auto_blocks.1", "bottleneck.prior_mean.next1"),
    ("bottleneck.auto_blocks.2", "bottleneck.prior_mean.next2"),
    ("bottleneck.auto_blocks.3", "bottleneck.prior_mean.next3"),
    ("decoder.blocks.s2_2", "decoder.stage2.block2"),
    ("decoder.blocks.s2_1", "decoder.stage2.block1"),
    ("decoder.blocks.s1_2", "decoder.stage1.block2"),
    ("decoder.blocks.s1_1", "decoder.stage1.block1"),
)
