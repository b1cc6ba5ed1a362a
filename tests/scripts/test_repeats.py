"""The same seed gives the same weights, bit for bit on a CPU, in every stage of both systems."""

from __future__ import annotations

from pathlib import Path

import torch

import finetune
import frd_train
import ml_memAE_sc_train
import train
from tests.engine.test_many_processes import STAGES, write_configs
from utils.checkpoint import load_checkpoint

HF2VAD = (ml_memAE_sc_train, train, finetune)


def run_all(folder: Path, runs: Path) -> None:
    for script in HF2VAD:
        script.main(["--cfg_file", f"{folder}/hf2vad.yaml", "--set", f"run.root={runs}"])
    for stage in ("c2fpl", "frd"):
        overrides = ["--set", f"run.root={runs}"]
        frd_train.main(["--cfg_file", f"{folder}/frd.yaml", "--stage", stage, *overrides])


def test_two_runs_give_equal_weights_and_statistics(tmp_path):
    """With dropout and sampled latents."""
    write_configs(tmp_path, dropout=0.3)
    for name in ("first", "second"):
        torch.manual_seed(ord(name[0]))  # whatever was drawn before must not matter
        run_all(tmp_path, tmp_path / name)
    for stage, system in STAGES.items():
        path = Path("scene" if system == "hf2vad" else "toy") / stage / "last.pth"
        first, second = (
            load_checkpoint(tmp_path / name / path, system) for name in ("first", "second")
        )
        for key, value in first["model"].items():
            assert torch.equal(second["model"][key], value), (stage, key)
        assert first["statistics"] == second["statistics"], stage
