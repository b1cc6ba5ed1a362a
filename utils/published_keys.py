"""Tensor names: ours and those of the published HF2-VAD checkpoints, mapped in this one place.

A name is a module path and a leaf. Both sides' module paths are listed side by side; leaves differ
only in weight-normalised convolutions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from torch import Tensor

from utils.errors import UserError

FULL_MODEL_PREFIXES = ("memAE.", "vunet.")

# Leaf of a weight-normalised convolution: ours -> published (other leaves are named alike).
_NORM_CONV_LEAVES = {
    "direction": "conv.weight_v",
    "length": "conv.weight_g",
    "bias": "conv.bias",
    "gamma": "gamma",
    "beta": "beta",
}
_BATCH_NORM_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our state dict (full model or ``MLMemAESC`` alone) to published names.

    Raises:
        UserError: a tensor has a name the published model has no place for.
    """
    prefix = "" if _is_full(state, ("memae.", "vunet.")) else "memae."
    names = {ours: published for published, ours in _name_table(_is_plain(state, "vunet.")).items()}
    cut = 0 if not prefix else len("memAE.")
    _refuse_unknown([key for key in state if prefix + key not in names], "our model")
    return {names[prefix + key][cut:]: tensor for key, tensor in state.items()}


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
        UserError: unknown, missing or unexpected tensors, or shapes that differ; all are named,
            by their published names.
    """
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    prefix = "" if _is_full(state, FULL_MODEL_PREFIXES) else "memAE."
    names = _name_table(_is_plain(state, "vunet."))
    cut = 0 if not prefix else len("memae.")
    _refuse_unknown([key for key in state if prefix + key not in names], source)
    renamed = {names[prefix + key][cut:]: tensor for key, tensor in state.items()}
    if expected is not None:
        _check_against(renamed, expected, source)
    return renamed


def _check_against(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> None:
    faults = [f"missing {name}" for name in _published_names(expected.keys() - state.keys())]
    faults += [f"unexpected {name}" for name in _published_names(state.keys() - expected.keys())]
    for key in state.keys() & expected.keys():
        found, needed = tuple(state[key].shape), tuple(expected[key].shape)
        if found != needed:
            name = _published_names([key])[0]
            faults.append(f"{name} has shape {found}, the model needs {needed}")
    if faults:
        raise UserError(
            f"{source}: {len(faults)} tensor(s) do not fit the configured model; "
            "check model.memae and model.vunet against the weights\n  " + "\n  ".join(faults)
        )


def _published_names(ours: Iterable[str]) -> list[str]:
    """Published names for messages; a stage-1 name is given without its prefix."""
    tables = [_name_table(plain) for plain in (False, True)]
    names = {mine: published for table in tables for published, mine in table.items()}
    full = {key: names.get(key) for key in ours}
    alone = {key: names.get(f"memae.{key}", key).removeprefix("memAE.") for key in ours}
    return sorted(full[key] or alone[key] for key in full)


def _refuse_unknown(unknown: list[str], source: str) -> None:
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise UserError(
            f"{source}: {len(unknown)} tensor name(s) that HF2-VAD does not have: {shown}; "
            "pass a checkpoint of the full model (memAE.*, vunet.*) or of ML-MemAE-SC"
        )


def _is_full(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> bool:
    return any(key.startswith(prefixes) for key in state)


def _is_plain(state: Mapping[str, Tensor], vunet_prefix: str) -> bool:
    """Whether the CVAE has plain convolutions (``final_act``): then it has no gains."""
    leaves = [key.rpartition(".")[2] for key in state if key.startswith(vunet_prefix)]
    return bool(leaves) and "gamma" not in leaves


@functools.cache
def _name_table(plain: bool) -> dict[str, str]:
    """Published name -> our name, of every tensor any configuration of the full model can have."""
    table = {f"memAE.{name}": f"memae.{ours}" for name, ours in _memae_names()}
    leaves = {"weight": "weight", "bias": "bias"} if plain else _NORM_CONV_LEAVES
    for published, ours in _vunet_convs():
        for our_leaf, published_leaf in leaves.items():
            table[f"vunet.{published}.{published_leaf}"] = f"vunet.{ours}.{our_leaf}"
    return table


def _memae_names() -> Iterable[tuple[str, str]]:
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


def _memae_convs() -> Iterable[tuple[str, str]]:
    yield "out_conv.conv", "out_conv"
    for level in (1, 2, 3):
        yield f"down_{level}.mpconv.0", f"down{level}.down"
        yield f"up_{level}.up", f"up{level}.upsample"


def _memae_double_convs() -> Iterable[tuple[str, str]]:
    yield "in_conv.conv.conv", "in_block"
    for level in (1, 2, 3):
        yield f"down_{level}.mpconv.1.conv", f"down{level}.block"
        yield f"up_{level}.conv.conv", f"up{level}.block"


def _vunet_convs() -> Iterable[tuple[str, str]]:
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
