"""Densities as a user fits, scores and loses them: density_fit.py, eval.py, a stage's end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import density_fit
import eval as evaluation
import finetune
from tests.helpers.fabricated import (
    MEMAE,
    VUNET,
    write_checkpoint,
    write_scene,
    write_training_cubes,
)
from utils.checkpoint import load_finished, save_checkpoint

TERMS = {"w_flow": 0.0, "w_frame": 0.0, "w_energy": 1.0, "w_appearance": 1.0, "w_velocity": 1.0}


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scene")
    write_scene(root)
    write_training_cubes(root, length=60)
    return root


@pytest.fixture
def configure(scene, tmp_path):
    def _configure(**changes) -> str:
        tree = {
            "data": {"name": "scene", "root": str(scene), "fps": 10.0},
            "run": {"root": str(tmp_path / "runs"), "device": "cpu", "num_threads": 1},
            "model": {"memae": MEMAE, "vunet": VUNET},
            "finetune": {"num_epochs": 1, "batch_size": 16},
            "density": {"bank_size": 64},
            "eval": {"batch_size": 16, "median": 5, "normalisation": "surprise", **TERMS},
        }
        for key, value in changes.items():
            tree[key] = tree[key] | value
        path = tmp_path / "scene.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return str(path)

    return _configure


def fit(cfg: str, *more: str) -> Path:
    density_fit.main(["--cfg_file", cfg, *more])
    root = yaml.safe_load(Path(cfg).read_text())["run"]["root"]
    return Path(root) / "scene" / "density" / "last.pth"


def score(path: Path, output: Path, *more: str) -> dict:
    root = load_finished(path)["config"]["data"]["root"]
    where = ["--output", str(output), "--set", f"data.root={root}", *more]
    evaluation.main(["--model_save_path", str(path), *where])
    return json.loads((output / "metrics.json").read_text())


def test_without_networks_it_scores_and_reports(configure, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.cubes.held_out.FEWEST_FRAMES", 20)
    path = fit(configure(data={"calibration_share": 0.25}))
    checkpoint = load_finished(path)
    assert checkpoint["stage"] == "density" and checkpoint["model"] == {}
    assert checkpoint["densities"]["banks"]["appearance"]["features"].shape[0] == 64
    assert checkpoint["video"]["fps"] == 10.0 and checkpoint["video"]["width"] > 0
    assert checkpoint["statistics"]["held_out"] == {"videos": 2, "frames": 20, "seconds": 2.0}
    metrics = score(path, tmp_path / "out")
    assert set(metrics["branches"]) == {"hybrid", "appearance", "velocity", "no learning"}
    assert metrics["branches"]["velocity"]["auc_micro"] > 0.9  # abnormal flows are twice as large
    assert "held out" in metrics["protocol"]["normal video"]
    assert "held-out" in metrics["threshold"]["source"]
    with (tmp_path / "out" / "cube_scores.csv").open() as handle:
        row = next(csv.DictReader(handle))
    assert row["flow_error"] == "" and float(row["appearance"]) >= 0
    assert "nearest normal" in (tmp_path / "out" / "report.html").read_text()


def test_seeds_choose_the_bank_and_a_run_repeats(configure):
    states = []
    for seed in (0, 0, 1):
        checkpoint = load_finished(fit(configure(run={"seed": seed})))
        states.append(checkpoint["densities"]["banks"]["velocity"]["features"])
    assert (states[0] == states[1]).all()
    assert not (states[0] == states[2]).all()


def test_a_trained_checkpoint_gets_densities(configure, scene, tmp_path):
    write_checkpoint(tmp_path / "old.pth", scene)
    cfg = configure(eval={"w_flow": 1.0, "w_frame": 1.0})
    path = fit(cfg, "--model_save_path", str(tmp_path / "old.pth"))
    assert load_finished(path)["stage"] == "finetune"
    found = score(path, tmp_path / "out")["branches"]
    assert set(found) == {
        "hybrid", "flow branch", "frame branch", "appearance", "velocity", "no learning",
    }  # fmt: skip


def test_a_stage_fits_them_at_its_end(configure, scene, tmp_path):
    write_checkpoint(tmp_path / "runs/scene/cvae/last.pth", scene, stage="cvae")
    finetune.main(["--cfg_file", configure(eval={"w_flow": 1.0})])
    checkpoint = load_finished(tmp_path / "runs/scene/finetune/last.pth")
    assert set(checkpoint["densities"]["banks"]) == {"appearance", "velocity"}
    # Left-out blocks: a normal cube must not have found itself.
    assert checkpoint["statistics"]["appearance"]["quantiles"][1] > 0.01
    assert np.isfinite(checkpoint["threshold"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval": {"w_appearance": 0.0, "w_velocity": 0.0}}, "no density to fit"),
        ({"density": {"appearance": {"backbone": "resnet1"}}}, "'resnet1' is not known"),
        ({"density": {"appearance": {"weights": "gone.pth"}}}, "gone.pth: no such file"),
        ({"density": {"appearance": {"backbone": "open_clip:x"}}}, "open_clip"),
    ],
)
def test_what_cannot_be_fitted_ends_with_a_message(configure, capsys, changes, message):
    with pytest.raises(SystemExit) as stopped:
        fit(configure(**changes))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_too_few_cubes_are_refused(configure, monkeypatch, capsys):
    monkeypatch.setattr("engine.normal_data._FEWEST", 1000)
    with pytest.raises(SystemExit) as stopped:
        fit(configure())
    assert stopped.value.code == 2
    assert "120 normal cubes, and a density needs 1000" in capsys.readouterr().err


def test_another_backbone_than_the_checkpoints_is_refused(configure, tmp_path, capsys):
    path = fit(configure())
    checkpoint = load_finished(path)
    checkpoint["densities"]["backbone"]["weights"] = "0" * 64
    save_checkpoint(path, {k: v for k, v in checkpoint.items() if k != "format_version"})
    with pytest.raises(SystemExit) as stopped:
        score(path, tmp_path / "out")
    assert stopped.value.code == 2
    assert "made with the backbone efficientnet_lite0 (000000000000)" in capsys.readouterr().err


def test_weights_for_densities_that_are_not_there_say_what_to_do(scene, tmp_path, capsys):
    write_checkpoint(tmp_path / "old.pth", scene)
    with pytest.raises(SystemExit) as stopped:
        score(tmp_path / "old.pth", tmp_path / "out", "eval.w_velocity=1")
    assert stopped.value.code == 2
    assert "density_fit.py --model_save_path" in capsys.readouterr().err


def test_densities_that_were_taken_out_of_a_checkpoint(configure, tmp_path, capsys):
    path = fit(configure(data={"calibration_share": 0.25}))
    save_checkpoint(path, load_finished(path) | {"densities": None})
    with pytest.raises(SystemExit) as ended:
        score(path, tmp_path / "eval")
    assert ended.value.code == 2
    assert "its densities of appearance, velocity are missing" in capsys.readouterr().err
