"""``fit.py``: from a folder of normal videos to a model that ``infer.py`` takes."""

from __future__ import annotations

import json

import pytest

import fit
import infer
from engine.budget import TRAINED, epochs_within, planned_epochs, stage_seconds
from tests.helpers.tiny_videos import write_video
from tests.repository.test_structure import ROOT
from utils.checkpoint import find_checkpoint, load_finished
from utils.config.load import load_config

TINY = ["run.device=cpu", "run.num_threads=1", "pre_process.boxes.min_area=30"]
TINY += ["pre_process.flow.preset=ultrafast", "model.memae.feature_root=2"]
TINY += ["model.memae.num_slots=4", "model.vunet.nf_max=8", "model.vunet.nf_start=4"]


@pytest.fixture
def command(tmp_path):
    """The videos, and the arguments that keep everything in ``tmp_path``."""
    (tmp_path / "normal").mkdir()
    write_video(tmp_path / "normal" / "monday.avi", 60, fps=10.0)
    where = [f"data.root={tmp_path / 'data'}", f"run.root={tmp_path / 'runs'}"]
    return [
        "--normal", str(tmp_path / "normal"), "--name", "yard",
        "--cfg_file", str(ROOT / "cfgs" / "custom.yaml"), "--set", *TINY, *where,
    ]  # fmt: skip


def test_quick_ends_with_a_model_that_watches(command, tmp_path, capsys, caplog):
    fit.main([*command, "--quick"])
    said = capsys.readouterr().out
    assert "0.1 minutes of normal video: what happens less often" in said
    assert "60x" not in said and "alarm threshold" in said
    assert f"python infer.py --model {tmp_path / 'runs' / 'yard'} --source" in said
    checkpoint = load_finished(find_checkpoint(tmp_path / "runs" / "yard"))
    assert checkpoint["stage"] == "density" and checkpoint["config"]["data"]["fps"] == 10
    video = write_video(tmp_path / "new.avi", 30, fps=10.0)
    infer.main(["--model", str(tmp_path / "runs" / "yard"), "--source", str(video),
                "--output", str(tmp_path / "out"), "--no_video"])  # fmt: skip
    told = json.loads((tmp_path / "out" / "alarms.json").read_text())
    assert told["threshold_source"] == "calibrated on normal training video"
    assert "too few for a threshold" in caplog.text


def test_networks_are_trained_within_a_time_and_again_is_going_on(command, tmp_path, capsys):
    fit.main([*command, "--minutes", "0.001"])
    assert "1 epochs of" in capsys.readouterr().out
    checkpoint = load_finished(tmp_path / "runs/yard/finetune/last.pth")
    assert checkpoint["epoch"] == 1 and checkpoint["densities"]
    fit.main([*command, "--minutes", "0.001"])
    assert capsys.readouterr().out.count("already finished") == 3


def test_epochs_are_cut_in_proportion():
    config = load_config(ROOT / "cfgs" / "custom.yaml")  # 10, 6 and 2 epochs
    steps = dict.fromkeys(TRAINED, 1.0)
    assert stage_seconds(config, steps, 1000) == {"ml_memae_sc": 80, "cvae": 48, "finetune": 16}
    assert epochs_within(config, steps, 1000, 72) == {"ml_memae_sc": 5, "cvae": 3, "finetune": 1}
    assert list(epochs_within(config, steps, 1000, 1).values()) == [1, 1, 1]
    assert list(epochs_within(config, steps, 1000, 1e6).values()) == [10, 6, 2]


def test_a_plan_is_kept_for_a_run_that_goes_on(tmp_path):
    config = load_config(ROOT / "cfgs" / "custom.yaml", [f"run.root={tmp_path}"])
    fast, slow = dict.fromkeys(TRAINED, 1.0), dict.fromkeys(TRAINED, 3.0)
    planned = planned_epochs(config, fast, 1000, minutes=1.2)
    assert planned == {"ml_memae_sc": 5, "cvae": 3, "finetune": 1}
    # Measured anew on a busier machine; other epochs would make another first stage.
    assert planned_epochs(config, slow, 1000, minutes=1.2) == planned
    assert planned_epochs(config, slow, 1000, minutes=1.1) != planned


def test_still_videos_are_refused(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        fit.main([*command, "pre_process.boxes.min_area=100000", "--quick"])
    assert stopped.value.code == 2
    assert "no box in the first 40 frames of 1 video(s)" in capsys.readouterr().err


def test_a_folder_without_a_checkpoint_says_what_is_expected(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        infer.main(["--model", str(tmp_path), "--source", "x.avi"])
    assert stopped.value.code == 2
    assert "no checkpoint in it; expected last.pth there or in" in capsys.readouterr().err
