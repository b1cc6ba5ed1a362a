"""The three training scripts, typed as a user types them, on a tiny made-up data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState

import eval as evaluation
import finetune
import ml_memAE_sc_train
import train
from tests.helpers.fabricated import MEMAE, VUNET, write_scene, write_training_cubes
from utils.checkpoint import load_checkpoint, save_checkpoint

SCRIPTS = {"ml_memae_sc": ml_memAE_sc_train, "cvae": train, "finetune": finetune}


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """Test videos of ``write_scene`` and two training videos of 20 cubes each."""
    root = tmp_path_factory.mktemp("scene")
    write_scene(root)
    write_training_cubes(root)
    return root


@pytest.fixture
def configure(scene, tmp_path):
    """Write a configuration for the scene and return its path."""

    def _configure(runs: str = "runs", **changes) -> str:
        stage = {"num_epochs": 2, "batch_size": 16, "lr": 1e-3}
        tree = {
            "data": {"name": "scene", "root": str(scene)},
            "run": {"root": str(tmp_path / runs), "device": "cpu", "num_threads": 1},
            "model": {"memae": MEMAE, "vunet": VUNET},
            **{name: dict(stage) for name in SCRIPTS},
            "eval": {"batch_size": 16, "median": 5},
        }
        for key, value in changes.items():
            tree[key] = tree.get(key, {}) | value
        path = tmp_path / f"{runs}.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return str(path)

    return _configure


def run(stage: str, cfg: str, *overrides: str) -> dict:
    argv = ["--cfg_file", cfg, *(["--set", *overrides] if overrides else [])]
    SCRIPTS[stage].main(argv)
    root = Path(yaml.safe_load(Path(cfg).read_text())["run"]["root"])
    return load_checkpoint(root / "scene" / stage / "last.pth", stages=(stage,))


def fails(capsys, stage: str, cfg: str, *overrides: str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(stage, cfg, *overrides)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_three_stages_then_evaluation(configure, tmp_path, capsys):
    cfg = configure()
    first, second, third = (run(stage, cfg) for stage in SCRIPTS)
    assert set(first["statistics"]) >= {"flow_error", "energy", "num_cubes"}
    for checkpoint in (second, third):
        assert checkpoint["finished"] and checkpoint["statistics"]["num_cubes"] == 40
        assert checkpoint["statistics"]["frame_error"]["std"] > 0
    frozen = {key: value for key, value in second["model"].items() if key.startswith("memae.")}
    for key, value in first["model"].items():
        assert torch.equal(frozen[f"memae.{key}"], value), key  # also BatchNorm's statistics
    assert not torch.equal(
        third["model"]["memae.out_conv.weight"], first["model"]["out_conv.weight"]
    )
    folder = tmp_path / "runs" / "scene" / "finetune"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"kl", "frame", "grad", "recon", "sparsity", "total"} <= set(lines[-1])
    assert (folder / "config.yaml").is_file() and list((folder / "tensorboard").iterdir())
    evaluation.main(["--model_save_path", str(folder / "last.pth"), "--cfg_file", cfg])
    metrics = json.loads((folder / "eval" / "metrics.json").read_text())
    assert 0 <= metrics["auc_micro"] <= 1
    assert "hybrid" in capsys.readouterr().out


def test_a_run_repeats_and_resumes_exactly(configure):
    straight = configure("a")
    for stage in ("ml_memae_sc", "cvae"):
        run(stage, straight)
    halting = configure("b")
    run("ml_memae_sc", halting, "ml_memae_sc.num_epochs=1")
    run("ml_memae_sc", halting)
    run("cvae", halting, "cvae.num_epochs=1")
    resumed = run("cvae", halting)["model"]
    for key, value in run("cvae", straight)["model"].items():
        assert torch.equal(value, resumed[key]), key


def test_other_seeds_and_bf16_train_too(configure):
    plain = run("ml_memae_sc", configure("a"))
    seeded = run("ml_memae_sc", configure("b", run={"seed": 1, "num_threads": 1}))
    AcceleratorState._reset_state(True)  # a process has one precision; each script is a process
    half = run("ml_memae_sc", configure("c", run={"precision": "bf16"}))
    weight = plain["model"]["out_conv.weight"]
    assert not torch.equal(weight, seeded["model"]["out_conv.weight"])
    assert torch.allclose(weight, half["model"]["out_conv.weight"], atol=0.05)
    assert half["model"]["out_conv.weight"].dtype == torch.float32


def test_a_stage_needs_the_one_before(configure, capsys, tmp_path):
    cfg = configure()
    assert "no such checkpoint" in fails(capsys, "cvae", cfg)
    run("ml_memae_sc", cfg)
    stage1 = tmp_path / "runs" / "scene" / "ml_memae_sc" / "last.pth"
    wrong = f"finetune.init_from={stage1}"
    assert "stage 'ml_memae_sc', but 'cvae' is needed" in fails(capsys, "finetune", cfg, wrong)
    larger = "model.memae.num_slots=9"
    assert "weights of another architecture" in fails(capsys, "cvae", cfg, larger)
    save_checkpoint(stage1, load_checkpoint(stage1) | {"finished": False})
    assert "not finished" in fails(capsys, "cvae", cfg)


def test_a_stage_notices_other_starting_weights(configure, capsys):
    cfg = configure()
    run("ml_memae_sc", cfg)
    run("cvae", cfg)
    run("ml_memae_sc", cfg, "ml_memae_sc.num_epochs=3")
    message = fails(capsys, "cvae", cfg)
    assert "data or starting weights" in message and "--restart" in message


def test_missing_cubes_say_what_to_run(configure, capsys, tmp_path):
    cfg = configure(data={"root": str(tmp_path / "nothing")})
    assert "prepare_dataset.py" in fails(capsys, "ml_memae_sc", cfg)


def test_cubes_of_other_settings_are_refused(configure, capsys):
    """Else the checkpoint would keep settings that its cubes were not made with."""
    cfg = configure()
    for stage in SCRIPTS:  # before anything else is trained or read
        if stage != "ml_memae_sc":
            run("ml_memae_sc" if stage == "cvae" else "cvae", cfg)
        message = fails(capsys, stage, cfg, "pre_process.flow.preset=fast")
        assert "cubes/training: these cubes were extracted with other settings" in message
        assert "flow.preset: 'medium' -> 'fast'" in message
        assert "extract_samples.py --overwrite" in message


def test_a_stage_on_other_cubes_than_the_one_before_says_so(configure, caplog, tmp_path):
    cfg = configure()
    run("ml_memae_sc", cfg)
    run("cvae", cfg, "cvae.num_epochs=1")
    assert "cubes of other settings" not in caplog.text
    path = tmp_path / "runs" / "scene" / "cvae" / "last.pth"
    checkpoint = load_checkpoint(path)
    checkpoint["config"]["pre_process"]["boxes"]["min_area"] = 400
    save_checkpoint(path, checkpoint)
    run("finetune", cfg, "finetune.num_epochs=1")
    message = "cvae/last.pth: was trained on cubes of other settings: boxes.min_area: 400 -> 100.0"
    assert message in caplog.text
