"""The same seed gives the same weights, bit for bit on a CPU, in every stage of both systems."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import finetune
import frd_train
import ml_memAE_sc_train
import train
from tests.test_many_processes import STAGES, write_configs
from utils.checkpoint import load_checkpoint

HF2VAD = (ml_memAE_sc_train, train, finetune)


def run_all(folder: Path, runs: Path) -> None:
    for script in HF2VAD:
        script.main(["--cfg_file", f"{folder}/hf2vad.yaml", "--set", f"run.root={runs}"])
    for stage in ("c2fpl", "frd"):
        overrides = ["--set", f"run.root={runs}"]
        frd_train.main(["--cfg_file", f"{folder}/frd.yaml", "--stage", stage, *overrides])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """Two runs of everything, with dropout and sampled latents."""
    folder = tmp_path_factory.mktemp("repeats")
    write_configs(folder, dropout=0.3)
    for name in ("first", "second"):
        torch.manual_seed(ord(name[0]))  # whatever was drawn before must not matter
        run_all(folder, folder / name)
    return folder / "first", folder / "second"


@pytest.mark.parametrize("stage", STAGES)
def test_two_runs_give_equal_weights_statistics_and_losses(runs, stage):
    data = "scene" if STAGES[stage] == "hf2vad" else "toy"
    first, second = (load_checkpoint(r / data / stage / "last.pth", STAGES[stage]) for r in runs)
    for key, value in first["model"].items():
        assert torch.equal(second["model"][key], value), key
    assert first["statistics"] == second["statistics"]
