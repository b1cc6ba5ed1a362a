"""Miniatures of the published files, written the way the published code writes them."""

from __future__ import annotations

import pickle
from pathlib import Path

import joblib
import numpy as np
import torch
import yaml

from models.hf2vad.hf2vad import build_hf2vad
from published.state_dict_keys import to_published

SMALL = {
    "feature_root": 2,
    "num_slots": 4,
    "nf_max": 8,
    "nf_start": 4,
    "mem_usage": [False, True, True, True],
    "skip_ops": ["none", "concat", "concat"],
}
LABELS = {0: np.array([0.0, 0, 1, 1, 0, 0]), 1: np.array([1.0, 0, 0, 0])}


def small_state(**changes) -> dict[str, torch.Tensor]:
    """Published names, random weights."""
    paras = {**SMALL, **changes}
    memae = {key: paras[key] for key in ("feature_root", "num_slots", "mem_usage", "skip_ops")}
    torch.manual_seed(0)
    model = build_hf2vad(memae, {"nf_max": paras["nf_max"], "nf_start": paras["nf_start"]})
    return to_published(model.state_dict())


def random_samples(num_cubes: int, num_frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Cubes with the published names and shapes; frames are sorted and the last one has a cube."""
    random = np.random.default_rng(seed)
    frames = np.sort(random.integers(0, num_frames, num_cubes))
    frames[-1] = num_frames - 1
    corner = random.uniform(0, 100, (num_cubes, 2))
    return {
        "sample_id": np.arange(num_cubes),
        "appearance": random.integers(0, 256, (num_cubes, 5, 32, 32, 3), dtype=np.uint8),
        "motion": random.normal(0, 3, (num_cubes, 5, 32, 32, 2)).astype(np.float32),
        "bbox": np.concatenate([corner, corner + 20], axis=1),
        "pred_frame": frames[:, None],
    }


def write_chunks(folder: Path, samples: dict[str, np.ndarray], sizes: list[int]) -> None:
    """Split samples into ``chunked_samples_NN.pkl`` of the given sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for number, size in enumerate(sizes):
        part = {name: values[start : start + size] for name, values in samples.items()}
        joblib.dump(part, folder / f"chunked_samples_{number:02d}.pkl")
        start += size


def write_labels(root: Path, labels: dict) -> None:
    """``gt_label.json``, which is a pickle."""
    path = root / "ground_truth_demo" / "gt_label.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(labels))


def write_config(path: Path, model_paras: dict, **changes) -> None:
    """A published configuration; the published code needs more keys than this project."""
    tree = {
        "model_paras": {**model_paras, "finetune": True},
        "device": "cuda:0",
        "dataset_base_dir": "./data",
        "dataset_name": "ped2",
        "exp_name": "ped2_released",
        "ckpt_root": "./ckpt",
        "log_root": "./log",
        "eval_root": "./eval",
        "ML_MemAE_SC_pretrained": "",
        "pretrained": "",
        "model_savename": "model.pth",
        "logevery": 100,
        "saveevery": 1,
        "num_epochs": 80,
        "batchsize": 128,
        "lr": "8e-5",
        "num_workers": 0,
        "alpha": 1,
        "intensity_loss_norm": 2,
        "lam_kl": 1.0,
        "lam_frame": 1.0,
        "lam_grad": 1.0,
        "lam_sparse": 0.0002,
        "lam_recon": 1.0,
        "w_r": 1.0,
        "w_p": 0.1,
        **changes,
    }
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def write_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A training checkpoint as the published code saves it."""
    content = {"step": 1000, "model_state_dict": state, "optimizer_state_dict": {"state": {}}}
    torch.save(content, path)


def make_files(folder: Path) -> Path:
    """Everything that the published command names: data/ped2, cfg.yaml and model.pth."""
    data = folder / "data" / "ped2"
    write_chunks(data / "testing" / "chunked_samples", random_samples(9, 10), [4, 2, 3])
    write_chunks(data / "training" / "chunked_samples", random_samples(7, 20, seed=1), [3, 4])
    write_labels(data, LABELS)
    write_config(folder / "cfg.yaml", SMALL)
    write_checkpoint(folder / "model.pth", small_state())
    return folder
