"""infer.py with a checkpoint of FRD-UVAD: scores are frd_eval.py's, what cannot be is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import frd_eval
import frd_train
import infer
from models.frd.frd import FRD
from pre_process.extract_features import main as extract_features
from tests.helpers.tiny_videos import make_dataset
from utils.checkpoint import load_tensors


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A data set of tiny videos and a checkpoint trained on their features."""
    root = tmp_path_factory.mktemp("scene")
    dataset = make_dataset(root / "data", {"training": (22, 17), "testing": (26, 21)})
    (root / "c.yaml").write_text(
        f"system: frd\ndata: {{name: tiny, root: {dataset.root}, frames_per_snippet: 4}}\n"
        f"run: {{device: cpu, root: {root / 'runs'}}}\n"
        "model: {feature_size: 256, num_blocks: 1}\n"
        "pre_process: {features: {crops: 1}}\nfrd: {num_epochs: 1}\n"
    )
    extract_features(["--cfg_file", str(root / "c.yaml"), "--workers", "1"])
    frd_train.main(["--cfg_file", str(root / "c.yaml")])
    return dataset, root / "runs" / "tiny" / "frd" / "last.pth"


def scores(folder):
    with (folder / "frame_scores.csv").open(newline="") as handle:
        return {(row["video"], row["frame"]): float(row["score"]) for row in csv.DictReader(handle)}


def test_scores_are_those_of_evaluation_and_alarms_follow(scene, tmp_path, capsys):
    dataset, path = scene
    source = str(dataset.root / "testing" / "frames")
    command = ["--model", str(path), "--source", source, "--output", str(tmp_path / "seen")]
    infer.main([*command, "--threshold", "0"])
    data = ["--set", f"data.root={dataset.root}"]
    frd_eval.main(["--ckpt_path", str(path), "--output", str(tmp_path / "evaluated"), *data])
    ours, theirs = scores(tmp_path / "seen"), scores(tmp_path / "evaluated")
    assert len(ours) == 26 + 21 and len(theirs) == 24 + 20  # the last frames fill no snippet
    shared = [key for key in theirs if key in ours]
    assert len(shared) == len(theirs)
    np.testing.assert_allclose(
        [ours[key] for key in shared], [theirs[key] for key in shared], rtol=1e-5
    )
    alarms = json.loads((tmp_path / "seen" / "alarms.json").read_text())
    assert len(alarms["alarms"]) == 2 and alarms["threshold"] == 0
    report = (tmp_path / "seen" / "report.html").read_text()
    assert "diagnosis of the training" in report and "given on the command line" in report
    assert not list((tmp_path / "seen").glob(".*.part"))  # the features are gone


def test_features_of_another_size_are_refused_before_the_long_work(scene, tmp_path, capsys):
    dataset, path = scene
    checkpoint = load_tensors(path)
    checkpoint["model"] = FRD(512, 1).state_dict()
    torch.save(checkpoint, tmp_path / "wide.pth")
    source = str(dataset.root / "testing" / "frames")
    with pytest.raises(SystemExit):
        infer.main(["--model", f"{tmp_path}/wide.pth", "--source", source])
    assert "reads features of 512 values, but pre_process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--live"], "--live: FRD-UVAD scores whole videos"),
        (["--backend", "openvino"], "--backend openvino: FRD-UVAD scores"),
        (["--false_alarms_per_hour", "1"], "no rate of false alarms is known"),
        (["--set", "pre_process.features.backend=s3d"], "needs weights"),
        (["--set", "frd.lr=1"], "only data, run, eval, pre_process can be set"),
    ],
)
def test_what_is_refused(scene, tmp_path, more, words, capsys):
    dataset, path = scene
    source = str(dataset.root / "testing" / "frames")
    command = ["--model", str(path), "--source", source, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        infer.main([*command, *more])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
