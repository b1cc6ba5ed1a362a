"""A tiny data set and checkpoints made up for tests of scripts that score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from datasets.cubes.files import write_cubes
from datasets.labels.frame_labels import save_labels
from datasets.labels.regions import Region, write_regions
from datasets.manifest import DataSet, VideoEntry, load_dataset, save_dataset
from evaluation.scores import error_statistics
from models.hf2vad.hf2vad import build_hf2vad
from models.hf2vad.ml_memae_sc import MLMemAESC
from utils.checkpoint import save_checkpoint
from utils.config.hf2vad import HF2VADConfig

VIDEOS = {"01": 30, "02": 26, "10": 28}
MEMAE = {"feature_root": 2, "num_slots": 4, "shrink_threshold": 0.0005}
MEMAE |= {"mem_usage": [False, True, True, True], "skip_ops": ["none", "concat", "concat"]}
VUNET = {"nf_max": 8, "nf_start": 4, "dropout": 0.1, "final_act": False}


def write_scene(root: Path) -> None:
    """Test videos, their cubes (none in every fifth frame), labels and regions."""
    generator = np.random.default_rng(0)
    entries, labels, regions = [], {}, []
    for number, (name, length) in enumerate(VIDEOS.items()):
        folder = root / "testing" / "frames" / name
        folder.mkdir(parents=True)
        for frame in range(length):
            picture = generator.integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(folder / f"{frame:03d}.png"), picture)
        entries.append(VideoEntry(name, "testing", folder, "frames", 0, length, 64, 48))
        labels[name] = np.zeros(length, np.uint8)
        labels[name][12 : 12 + 4 * number] = 1
        regions += [Region(name, f, 0, 4, 4, 20, 24) for f in np.flatnonzero(labels[name])]
        write_video_cubes(root, name, labels[name], generator)
    save_dataset(DataSet(root, "scene", tuple(entries)))
    save_labels(root, labels)
    write_regions(root / "regions.csv", regions)


def write_video_cubes(
    root: Path, name: str, labels: np.ndarray, generator: np.random.Generator
) -> None:
    """Two cubes a frame; those of abnormal frames move more."""
    description = {"video": name, "split": "testing", "num_frames": len(labels),
                   "width": 64, "height": 48, "settings": {"flow.preset": "medium"}}  # fmt: skip
    with write_cubes(root / "cubes" / "testing" / name, description) as writer:
        for frame, label in enumerate(labels):
            count = 0 if frame % 5 == 4 else 2
            boxes = np.array([[4, 4, 20, 24], [30, 10, 50, 40]][:count], np.float32)
            appearance = generator.integers(0, 255, (count, 5, 32, 32, 3), np.uint8)
            motion = generator.normal(0, 1 + label, (count, 4, 32, 32, 2)).astype(np.float16)
            writer.append(frame, boxes.reshape(-1, 4), appearance, motion)


def write_training_cubes(root: Path, length: int = 20) -> None:
    """Add two training videos of ``length`` cubes each to ``write_scene``'s data set."""
    generator = np.random.default_rng(1)
    entries = list(load_dataset(root).entries)
    for name in ("01", "02"):
        entries.append(VideoEntry(name, "training", root, "frames", 0, length, 64, 48))
        facts = {"video": name, "split": "training", "num_frames": length}
        facts |= {"width": 64, "height": 48}
        facts["settings"] = {"flow.preset": "medium"}
        with write_cubes(root / "cubes" / "training" / name, facts) as writer:
            for frame in range(length):
                writer.append(
                    frame,
                    np.array([[4, 4, 20, 24]], np.float32),
                    generator.integers(0, 255, (1, 5, 32, 32, 3), np.uint8),
                    generator.normal(0, 1, (1, 4, 32, 32, 2)).astype(np.float16),
                )
    save_dataset(DataSet(root, "scene", tuple(entries)))


def write_checkpoint(
    path: Path, root: Path, stage: str = "finetune", seed: int = 0, **changes: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """A finished checkpoint of a tiny untrained model; ``changes`` replace its entries."""
    torch.manual_seed(seed)
    tree = {"data": {"name": "scene", "root": str(root), "fps": 10},
            "model": {"memae": MEMAE, "vunet": VUNET},
            "eval": {"w_flow": 1.0, "w_frame": 0.5, "batch_size": 16, "median": 5}}  # fmt: skip
    model = MLMemAESC(**MEMAE) if stage == "ml_memae_sc" else build_hf2vad(MEMAE, VUNET)
    generator = np.random.default_rng(seed)
    names = ("flow_error", "energy") + (() if stage == "ml_memae_sc" else ("frame_error",))
    checkpoint = {
        "system": "hf2vad", "stage": stage, "config": HF2VADConfig(**tree).model_dump(mode="json"),
        "model": model.state_dict(), "finished": True, "epoch": 3, "step": 30, "threshold": None,
        "statistics": error_statistics({n: generator.gamma(9, 100, 40) for n in names}),
        "provenance": {"git_revision": "abc"}, "training": {},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, checkpoint | changes)
    return model.eval(), checkpoint
