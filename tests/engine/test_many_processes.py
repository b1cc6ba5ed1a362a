"""Two processes train together: all stages of both systems, scores, files, what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datasets.cubes.dataset import CubeSet
from datasets.toy.features import ToySettings, write_toy_features
from engine.gradients import make_accelerator
from engine.scoring.build import checkpoint_scorer
from pre_process.make_pseudo_labels import main as make_pseudo_labels
from tests.helpers.fabricated import MEMAE, VUNET, write_scene, write_training_cubes
from tests.helpers.launched import ROOT, launch, run_here, run_launched
from utils import distributed
from utils.checkpoint import load_checkpoint
from utils.errors import UserError
from utils.runtime import pick_device

STAGES = {"ml_memae_sc": "hf2vad", "cvae": "hf2vad", "finetune": "hf2vad"}
STAGES |= {"c2fpl": "frd", "frd": "frd"}
Runs = tuple[Path, Path, str]


def write_configs(folder: Path, dropout: float = 0.0) -> None:
    """Both systems; 40 cubes in batches of 13 (the last step has one) or, in stage 1, of 20."""
    write_scene(folder / "scene")
    write_training_cubes(folder / "scene")
    # Nothing that blows rounding up: two memories (three make this tiny model chaotic: one process
    # that reads its batches backwards then differs as much), and a large eps for Adam.
    memae = MEMAE | {"mem_usage": [False, False, True, True]}
    stage = {"num_epochs": 2, "batch_size": 13, "lr": 1e-3, "adam_eps": 1e-2}
    tree = {
        "data": {"name": "scene", "root": str(folder / "scene")},
        "run": {"device": "cpu", "num_threads": 1, "log_every": 1},
        "model": {"memae": memae, "vunet": VUNET | {"dropout": dropout}},
        **{name: dict(stage) for name, system in STAGES.items() if system == "hf2vad"},
        "eval": {"batch_size": 16, "median": 5},
    }
    tree["ml_memae_sc"]["batch_size"] = 20  # processes end on other samples of their own
    tree["finetune"]["ema_decay"] = 0.9
    (folder / "hf2vad.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    write_toy_features(folder / "toy", settings=ToySettings(6, snippets=(8, 14), crops=2))
    tree = {
        "system": "frd",
        "data": {"name": "toy", "root": str(folder / "toy")},
        "run": {"device": "cpu", "log_every": 1},
        "model": {"feature_size": 256, "num_blocks": 2, "disruption": dropout, "dropout": dropout},
        "c2fpl": {"num_epochs": 2, "batch_size": 13, "dropout": dropout},
        "frd": {"num_epochs": 2, "batch_size": 13, "cross_clip": 2, "lr": 2e-4},
    }
    tree["frd"]["bank"] = {"enabled": True, "beta": 0.4, "delta": 0.0}
    tree["frd"]["auxiliary"] = {"kind": "c2fpl", "threshold": 0.0}
    (folder / "frd.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    make_pseudo_labels(["--cfg_file", str(folder / "frd.yaml")])


def training(folder: Path, runs: Path) -> list[tuple[str, list[str]]]:
    def config(system: str) -> list[str]:
        return ["--cfg_file", f"{folder}/{system}.yaml", "--set", f"run.root={runs}"]

    hf2vad = [(name, config("hf2vad")) for name in ("ml_memAE_sc_train", "train", "finetune")]
    frd = [("frd_train", [*config("frd"), "--stage", stage]) for stage in ("c2fpl", "frd")]
    return [*hf2vad, *frd]


def scoring(folder: Path, runs: Path, output: Path) -> list[tuple[str, list[str]]]:
    finetune, frd = f"{runs}/scene/finetune/last.pth", f"{runs}/toy/frd/last.pth"
    return [
        (
            "eval",
            [
                "--model_save_path",
                finetune,
                "--cfg_file",
                f"{folder}/hf2vad.yaml",
                "--output",
                f"{output}/finetune",
            ],
        ),
        (
            "frd_eval",
            ["--ckpt_path", frd, "--cfg_file", f"{folder}/frd.yaml", "--output", f"{output}/frd"],
        ),
    ]


def run_by_one_and_two(folder: Path) -> Runs:
    """Folders of the same runs by one process and by two, and what the two printed."""
    write_configs(folder)
    one, two = folder / "one", folder / "two"
    run_here(training(folder, one))
    again = [training(folder, folder / "again")[place] for place in (0, 3, 4)]
    printed = run_launched(
        2, [*training(folder, two), *scoring(folder, two, folder / "by_two"), *again]
    )
    run_here(scoring(folder, two, folder / "by_one"))
    return one, two, printed


def stage_folders(runs: Runs, stage: str) -> list[Path]:
    return [root / ("scene" if STAGES[stage] == "hf2vad" else "toy") / stage for root in runs[:2]]


def check_loss_curve_and_weights(runs: Runs, stage: str) -> None:
    """Of the stages without BatchNorm, which on CPUs sees each process's own samples."""
    one, two = stage_folders(runs, stage)
    curves = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (one, two)
    ]
    for ours, expected in zip(curves[1], curves[0], strict=True):
        ours.pop("seconds"), expected.pop("seconds")
        assert ours == pytest.approx(expected, rel=1e-5), stage
    first, second = (load_checkpoint(each / "last.pth", STAGES[stage]) for each in (one, two))
    for key, value in first["model"].items():
        torch.testing.assert_close(second["model"][key], value, rtol=1e-5, atol=4e-5)
    numbers, found = (flatten(each["statistics"]) for each in (first, second))
    assert numbers.keys() == found.keys()
    for name, value in numbers.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested tables as one, keys joined."""
    flat = {}
    for key, value in tree.items():
        flat |= (
            flatten(value, f"{prefix}{key} ") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def check_statistics_are_of_the_saved_weights(runs: Runs, stage: str) -> None:
    """Each process scores a part of the cubes, with one model: the one in the checkpoint."""
    path = stage_folders(runs, stage)[1] / "last.pth"
    checkpoint, cubes = load_checkpoint(path), CubeSet.open(runs[0].parent / "scene", "training")
    scorer = checkpoint_scorer(checkpoint, path, torch.device("cpu"))
    errors = scorer(*cubes.gather(np.arange(len(cubes))))
    for name, values in errors.items():
        stored = checkpoint["statistics"][name]["mean"]
        np.testing.assert_allclose(stored, values.double().mean(), rtol=1e-5, err_msg=name)


def check_bank(runs: Runs) -> None:
    one, two = (load_checkpoint(each / "last.pth", "frd") for each in stage_folders(runs, "frd"))
    items = [each["training"]["memory"]["items"] for each in (one, two)]
    assert len(items[0]) == 5
    torch.testing.assert_close(*items)


def check_scores(runs: Runs) -> None:
    """Those of a checkpoint are the same bytes, by one process and by two."""
    for file in ("finetune/cube_scores.csv", "frd/frame_scores.csv"):
        by_one, by_two = (runs[0].parent / name / file for name in ("by_one", "by_two"))
        assert by_one.read_bytes() == by_two.read_bytes()


def check_that_one_process_writes_and_speaks(runs: Runs) -> None:
    printed = runs[2]
    for line in ("cvae: done", "finetune: done", "frd: done", "scores and metrics"):
        times = 1 if line in ("cvae: done", "finetune: done") else 2
        assert printed.count(line) == times, printed
    assert "2 process(es)" in printed
    assert printed.count("BatchNorm on CPUs: each process normalises by its own") == 4
    for folder in (stage_folders(runs, stage)[1] for stage in STAGES):
        assert len((folder / "log.jsonl").read_text().splitlines()) == 2
        assert len(list((folder / "tensorboard").iterdir())) == 1


def check_that_two_processes_repeat_bit_for_bit(runs: Runs, stage: str) -> None:
    second = stage_folders(runs, stage)[1] / "last.pth"
    third = runs[1].parent / "again" / second.relative_to(runs[1])
    first, again = (load_checkpoint(path, STAGES[stage])["model"] for path in (second, third))
    for key, value in first.items():
        assert torch.equal(again[key], value), key


def test_two_processes_train_and_evaluate_together(tmp_path):
    """One test, so that test workers do not all make these runs."""
    runs = run_by_one_and_two(tmp_path)
    for stage in ("c2fpl", "frd"):
        check_loss_curve_and_weights(runs, stage)
    for stage in ("ml_memae_sc", "cvae", "finetune"):
        check_statistics_are_of_the_saved_weights(runs, stage)
    check_bank(runs)
    check_scores(runs)
    check_that_one_process_writes_and_speaks(runs)
    for stage in ("ml_memae_sc", "c2fpl", "frd"):
        check_that_two_processes_repeat_bit_for_bit(runs, stage)


def test_gradients_of_uneven_and_empty_shares():
    process = launch(3, ROOT / "tests" / "helpers" / "launched_gradients.py")
    output, _ = process.communicate(timeout=120)
    assert output.count("agrees") == 3 and process.returncode == 0, output


def test_processes_of_a_machine_get_a_gpu_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == pick_device("cuda:0") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(distributed, "count", lambda: 3)
    with pytest.raises(UserError, match="3 processes on this machine, but 2 GPU"):
        make_accelerator(torch.device("cuda", 0))
