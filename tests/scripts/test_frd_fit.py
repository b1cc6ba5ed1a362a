"""``frd_fit.py``: from a folder of unlabelled videos to scores, and a model that watches."""

from __future__ import annotations

import csv
import itertools
import json
import time

import pytest

import frd_fit
import infer
from datasets.videos import describe_video
from inference.frd import pace
from pre_process.features.build import build_backbone
from pre_process.preparation.unlabelled import enough_epochs
from tests.helpers.tiny_videos import write_video
from tests.repository.test_structure import ROOT
from utils.checkpoint import find_checkpoint, load_finished
from utils.config.frd import FRDStageConfig
from utils.config.load import load_config


@pytest.fixture
def command(tmp_path):
    """Two videos, and the arguments that keep everything in ``tmp_path``."""
    (tmp_path / "mixed").mkdir()
    for number, name in enumerate(("monday", "tuesday")):
        write_video(tmp_path / "mixed" / f"{name}.avi", 40 + number, fps=10.0)
    where = [f"data.root={tmp_path / 'data'}", f"run.root={tmp_path / 'runs'}"]
    tiny = ["run.device=cpu", "run.num_threads=1", "data.frames_per_snippet=2", "frd.num_epochs=1"]
    return [
        "--videos", str(tmp_path / "mixed"), "--name", "yard",
        "--cfg_file", str(ROOT / "cfgs" / "frd_custom.yaml"), "--set", *where, *tiny,
        "pre_process.features.crops=1",
    ]  # fmt: skip


def test_from_videos_to_scores_and_again_is_going_on(command, tmp_path, capsys, monkeypatch):
    frd_fit.main(command)
    reported = capsys.readouterr().out
    assert "0.135 minutes, 40 snippets of 2 frames" in reported and "take 10 minutes" in reported
    assert f"python infer.py --model {tmp_path / 'runs' / 'yard'} --source" in reported
    assert "all of it will take about" in reported
    assert "3 of 4: training of FRD-UVAD (its diagnosis: docs/frd.md), about" in reported
    checkpoint = load_finished(find_checkpoint(tmp_path / "runs" / "yard"), system="frd")
    assert checkpoint["video"] == {"width": 0, "height": 0, "fps": 10}
    folder = tmp_path / "runs" / "yard" / "frd" / "videos"
    with (folder / "frame_scores.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["video"] for row in rows] == ["monday"] * 40 + ["tuesday"] * 41
    written = rows[:]
    assert json.loads((folder / "alarms.json").read_text())["seen"]["frames"] == 81
    frd_fit.main(command)
    reported = capsys.readouterr().out
    assert "2 videos, 0 to extract" in reported and "already finished" in reported
    with (folder / "frame_scores.csv").open(newline="") as handle:
        assert list(csv.DictReader(handle)) == written
    # The same video from its file has the same scores; at another rate it would not.
    source = ["--source", str(tmp_path / "mixed" / "monday.avi"), "--no_video"]
    infer.main(["--model", str(tmp_path / "runs/yard"), *source, "--output", f"{tmp_path}/new"])
    with (tmp_path / "new" / "frame_scores.csv").open(newline="") as handle:
        again = [float(row["score"]) for row in csv.DictReader(handle)]
    assert again == pytest.approx([float(row["score"]) for row in written[:40]], rel=1e-5)
    slow = write_video(tmp_path / "slow.avi", 20, fps=5.0)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        infer.main(["--model", str(tmp_path / "runs/yard"), "--source", str(slow)])
    assert "5 frames per second, and the model was trained at 10" in capsys.readouterr().err


def test_too_little_video_is_refused_before_the_work(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        frd_fit.main([*command, "data.frames_per_snippet=16"])
    assert stopped.value.code == 2
    assert "4 snippets of 16 frames are too few" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() and not (tmp_path / "data" / "features").exists()


def test_test_videos_apart_are_refused(command, tmp_path, capsys):
    for split in ("training", "testing"):
        (tmp_path / "split" / split / "videos").mkdir(parents=True)
        write_video(tmp_path / "split" / split / "videos" / "01.avi", 80, fps=10.0)
    with pytest.raises(SystemExit):
        frd_fit.main(["--videos", str(tmp_path / "split"), *command[2:]])
    assert "training and test videos lie apart" in capsys.readouterr().err


def test_expected_seconds_are_those_of_a_sample_times_the_rest(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.avi", 64, fps=10.0)
    entries = [describe_video(path, "training"), describe_video(path, "training")]
    config = load_config(ROOT / "cfgs" / "frd_custom.yaml", system="frd")
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))  # each thing takes a second
    monkeypatch.setattr(pace, "pick_workers", lambda *_: 2)
    monkeypatch.setattr(pace, "_DRAWN", 2)
    expected = pace.SnippetPace(config, build_backbone(config.pre_process.features, 16), entries)
    # 8 frames read in a second, 16 described in one, 2 drawn; each process has a video of 64.
    assert expected.features() == 64 * (1 / 8 + 1 / 16)
    assert expected.training(33, 90) == 2 * 90
    assert expected.scoring(with_video=False) == 128 / 8
    assert expected.scoring(with_video=True) == 128 / 2


def test_few_snippets_are_trained_on_for_more_epochs():
    settings = FRDStageConfig(batch_size=32, num_epochs=20)
    assert enough_epochs(settings, 40) == 90 and enough_epochs(settings, 32_000) == 20
