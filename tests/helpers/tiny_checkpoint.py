"""A whole checkpoint of a tiny, untrained model, as the last stage would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.checkpoint import save_checkpoint
from utils.config.load import build_config
from utils.runtime import provenance

SIZES = {
    "memae": {"feature_root": 2, "num_slots": 4},
    "vunet": {"nf_max": 8, "nf_start": 4},
}
MOTION_BOXES = {"boxes": {"backend": "motion", "min_area": 30}, "flow": {"preset": "ultrafast"}}


def write_checkpoint(
    path: Path,
    stage: str = "finetune",
    seed: int = 0,
    data: Any = None,
    pre_process: Any = None,
    **entries: Any,
) -> Path:
    """Write a finished checkpoint with plausible statistics; ``entries`` replace top-level keys."""
    tree = {
        "data": {"name": "tiny", "fps": 10.0, **(data or {})},
        "run": {"device": "cpu"},
        "model": SIZES,
        "pre_process": pre_process or MOTION_BOXES,
        "eval": {"median": 5, "w_frame": 1.0},
    }
    config = build_config(tree, "tiny").model_dump(mode="json")
    torch.manual_seed(seed)
    sizes = config["model"]
    if stage == "ml_memae_sc":
        model: torch.nn.Module = MLMemAESC(**sizes["memae"])
    else:
        model = build_hf2vad(sizes["memae"], sizes["vunet"])
    errors = {"mean": 300.0, "std": 200.0, "quantiles": [float(10 * k) for k in range(13)]}
    names = ("flow_error", "energy") if stage == "ml_memae_sc" else (
        "flow_error", "frame_error", "energy"
    )  # fmt: skip
    checkpoint = {
        "system": "hf2vad",
        "stage": stage,
        "config": config,
        "model": model.state_dict(),
        "finished": True,
        "epoch": 1,
        "step": 3,
        "statistics": {name: dict(errors) for name in names} | {"num_cubes": 100},
        "threshold": None,
        "calibration": None,
        "provenance": provenance() | {"data": "none"},
        "training": {},
    }
    save_checkpoint(path, checkpoint | entries)
    return path
