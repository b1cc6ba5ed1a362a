"""The published HF2-VAD configuration and checkpoints, put into this project's terms."""

from __future__ import annotations

import copy
import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from utils.config.hf2vad import HF2VADConfig
from utils.config.load import apply_override, build_config, validate
from utils.config.yaml_file import read_yaml
from utils.errors import UserError
from utils.pretrained import load_state_dict_file

logger = logging.getLogger(__name__)

# Frame width and height, which the published files do not tell.
FRAME_SIZES = {
    "ped1": (238, 158),
    "ped2": (360, 240),
    "avenue": (640, 360),
    "shanghaitech": (856, 480),
}


def _pre_process(
    score: float, area: int, cover: float, binary: int, blur: int, region: int, height: int
) -> dict[str, Any]:
    """How the published cubes of a data set were made (HF2-VAD §4.1 and its released code)."""
    moving = {"binary_threshold": binary, "blur_size": blur, "min_area": region}
    boxes = {"backend": "mmdet", "score_threshold": score, "min_area": area}
    return {
        "boxes": {**boxes, "cover_threshold": cover, "moving_regions": moving},
        "flow": {"backend": "flownet2", "width": 1024, "height": height},
    }


PRE_PROCESS = {
    "ped2": _pre_process(0.5, 10 * 10, 0.6, 18, 3, 10 * 10, 768),
    "avenue": _pre_process(0.25, 40 * 40, 0.6, 18, 5, 40 * 40, 768),
    "shanghaitech": _pre_process(0.5, 8 * 8, 0.65, 15, 5, 40 * 40, 640),
}
# Keys that the published code reads and that have no meaning here.
_UNUSED_HERE = {
    "ckpt_root": "./ckpt",
    "log_root": "./log",
    "ML_MemAE_SC_pretrained": "",
    "pretrained": "",
    "model_savename": "model.pth",
    "logevery": 100,
    "saveevery": 1,
    "num_workers": 0,
}
# Keys of a stage's block; stage 1 has the first four.
_TRAINING = ("num_epochs", "lr", "lam_recon", "lam_sparse",
             "lam_kl", "lam_frame", "lam_grad", "alpha", "intensity_loss_norm")  # fmt: skip
_FULL_MODEL_PREFIXES = ("memAE.", "vunet.")


class PublishedModel(BaseModel):
    """The block ``model_paras``. What this project fixes has one allowed value.

    An unknown key is refused: a misspelt one would change the model in silence.
    """

    model_config = ConfigDict(extra="forbid")

    feature_root: int = 32
    num_slots: int = 2000
    shrink_thres: float = 0.0005
    mem_usage: list[bool] = [False, True, True, True]
    skip_ops: list[str] = ["none", "concat", "concat"]
    nf_max: int = 128
    nf_start: int = 64
    dropout_prob: float = 0.1
    final_act: bool = False
    spatial_size: Literal[32] = 32
    img_channels: Literal[3] = 3
    motion_channels: Literal[2] = 2
    clip_hist: Literal[4] = 4
    clip_pred: Literal[1] = 1
    num_flows: Literal[1, 4] = 4
    finetune: bool | None = None  # of no effect here: the checkpoint tells its stage


class PublishedConfig(BaseModel):
    """A published configuration; keys that are not needed here are accepted and left aside.

    ``None`` stands for this project's value, which is the published default.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model_paras: PublishedModel
    dataset_name: str
    dataset_base_dir: str = "./data"
    exp_name: str = ""
    eval_root: str = "./eval"
    device: str = "auto"
    w_r: float | None = None
    w_p: float | None = None
    num_epochs: int | None = None
    batchsize: int | None = None
    lr: float | None = None
    lam_recon: float | None = None
    lam_sparse: float | None = None
    lam_kl: float | None = None
    lam_frame: float | None = None
    lam_grad: float | None = None
    alpha: float | None = None
    intensity_loss_norm: int | None = None

    @property
    def data_folder(self) -> Path:
        """Where the published chunks, labels and boxes lie."""
        return Path(self.dataset_base_dir) / self.dataset_name

    @property
    def output_folder(self) -> Path:
        """Where the published code puts the results of an evaluation."""
        return Path(self.eval_root) / (self.exp_name or self.dataset_name)


def is_published_config(path: str | Path) -> bool:
    """Whether a YAML file is a published configuration; ours have no ``model_paras``.

    Raises:
        UserError: missing or not YAML.
    """
    return "model_paras" in read_yaml(Path(path))


def load_published_config(path: str | Path) -> PublishedConfig:
    """Read a published configuration.

    Raises:
        UserError: missing or not YAML, faults in the keys that are needed here, or a key that is
            nearly one of them.
    """
    tree = read_yaml(Path(path))
    published = validate(tree, PublishedConfig, str(path))
    _require_no_misspelt_keys(tree, str(path))
    return published


def _require_no_misspelt_keys(tree: dict[str, Any], source: str) -> None:
    known = list(PublishedConfig.model_fields)
    others = [key for key in tree if key not in known and key not in _UNUSED_HERE]
    for key in others:
        if near := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
            raise UserError(f"{source}: {key}: unknown key; did you mean '{near[0]}'?")
    if others:
        logger.info("%s: keys without meaning here: %s", source, ", ".join(others))


def to_our_config(
    published: PublishedConfig, stage: str, source: str, overrides: Sequence[str] = ()
) -> HF2VADConfig:
    """The same settings as a configuration of this project.

    Args:
        published: from ``load_published_config``.
        stage: ``ml_memae_sc`` or ``finetune``, whose block takes the training settings.
        source: the published file, for messages.
        overrides: ``key.sub=value`` for keys of the new configuration.

    Raises:
        UserError: a value that this project does not allow, or weights of the two scores missing.
    """
    if stage != "ml_memae_sc" and (published.w_r is None or published.w_p is None):
        raise UserError(
            f"{source}: w_r and w_p are needed to weigh the two errors; published are 1.0 and 0.1 "
            "(ped2), 0.05 and 1.0 (avenue), 0.02 and 1.0 (shanghaitech)"
        )
    names = _TRAINING[:4] if stage == "ml_memae_sc" else _TRAINING
    training, folder = {name: getattr(published, name) for name in names}, published.data_folder
    root = "" if folder == Path("data") / published.dataset_name else str(folder)
    tree = {
        "data": {"name": published.dataset_name, "root": root},
        "run": {"device": published.device, "name": published.exp_name},
        "model": _model_blocks(published.model_paras),
        stage: _stated({**training, "batch_size": published.batchsize}),
        "eval": {
            **_stated({"w_flow": published.w_r, "w_frame": published.w_p}),
            "batch_size": 64,  # of no effect on the scores; keeps memory well under 2 GB
        },
    }
    if published.dataset_name in PRE_PROCESS:
        tree["pre_process"] = copy.deepcopy(PRE_PROCESS[published.dataset_name])
    for override in overrides:
        apply_override(tree, override)
    return build_config(tree, source)


def read_published_state(path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """Read a published checkpoint: the full model's or stage 1's alone.

    Returns:
        Stage (``finetune`` or ``ml_memae_sc``) and tensors by their published names.

    Raises:
        UserError: missing, truncated, or not a checkpoint.
    """
    state = load_state_dict_file(path, keys=("model_state_dict", "state_dict"))
    is_full = any(key.startswith(_FULL_MODEL_PREFIXES) for key in state)
    return "finetune" if is_full else "ml_memae_sc", state


def to_published_config(config: HF2VADConfig, stage: str) -> dict[str, Any]:
    """A configuration of ours in published terms, for the published code to read."""
    memae, vunet, training = config.model.memae, config.model.vunet, getattr(config, stage)
    folder = config.data.folder
    paras = PublishedModel(
        **memae.model_dump(exclude={"shrink_threshold"}),
        **vunet.model_dump(exclude={"dropout"}),
        shrink_thres=memae.shrink_threshold,
        dropout_prob=vunet.dropout,
        num_flows=1 if stage == "ml_memae_sc" else 4,
    )
    published = PublishedConfig(
        model_paras=paras,
        dataset_name=folder.name,
        dataset_base_dir=str(folder.parent),
        exp_name=config.run.name or config.data.name,
        device="cuda:0",
        w_r=config.eval.w_flow,
        w_p=config.eval.w_frame,
        batchsize=training.batch_size,
        **{key: getattr(training, key) for key in _TRAINING if hasattr(training, key)},
    )
    return {**published.model_dump(exclude_none=True), **_UNUSED_HERE}


def _model_blocks(paras: PublishedModel) -> dict[str, Any]:
    memae = paras.model_dump(include={"feature_root", "num_slots", "mem_usage", "skip_ops"})
    vunet = paras.model_dump(include={"nf_max", "nf_start", "final_act"})
    return {
        "memae": {**memae, "shrink_threshold": paras.shrink_thres},
        "vunet": {**vunet, "dropout": paras.dropout_prob},
    }


def _stated(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
