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
from inference.frd import offline
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
    assert report.count("data:image/jpeg") >= 4  # a picture of each alarm and of each peak
    assert len(list((tmp_path / "seen" / "annotated").glob("*.mp4"))) == 2
    assert all((tmp_path / "seen" / alarm["clip"]).is_file() for alarm in alarms["alarms"])


def test_without_a_threshold_it_is_told_by_the_training_scores(scene, tmp_path):
    dataset, path = scene
    source = next((dataset.root / "testing" / "frames").iterdir())
    output = ["--output", str(tmp_path / "out"), "--no_video"]
    infer.main(["--model", str(path), "--source", str(source), *output])
    alarms = json.loads((tmp_path / "out" / "alarms.json").read_text())
    known = load_tensors(path)["statistics"]["score"]
    assert alarms["threshold"] == pytest.approx(known["mean"] + known["std"])
    assert "unlabelled training video's mean score" in alarms["threshold_source"]


@pytest.mark.parametrize("stride", [None, 1])
def test_live_scores_are_those_of_the_whole_video(scene, tmp_path, stride):
    dataset, path = scene
    source = str(next((dataset.root / "testing" / "frames").iterdir()))
    command = ["--model", str(path), "--source", source, "--threshold", "0"]
    infer.main([*command, "--output", str(tmp_path / "whole"), "--no_video"])
    faster = ["--fps", "200", "--any_rate", "--max_delay", "inf", "--live"]
    settings = ["alarms.min_seconds=0"] + ([f"eval.live_stride={stride}"] if stride else [])
    infer.main([*command, *faster, "--output", str(tmp_path / "live"), "--set", *settings])
    whole, live = scores(tmp_path / "whole"), scores(tmp_path / "live")
    assert len(live) == len(whole)
    if stride is None:
        assert list(live.values()) == list(whole.values())
    else:  # the windows that end where snippets do
        assert [*live.values()][3::4] == pytest.approx([*whole.values()][3::4], rel=1e-5)
        assert len(set(live.values())) > len(set(whole.values()))
    alarms = json.loads((tmp_path / "live" / "alarms.json").read_text())["alarms"]
    assert alarms and (tmp_path / "live" / alarms[0]["clip"]).is_file()
    report = (tmp_path / "live" / "report.html").read_text()
    assert "data:image/jpeg" in report and "why:" not in report


def test_an_interrupted_run_goes_on_and_gives_the_same(scene, tmp_path, capsys, monkeypatch):
    dataset, path = scene
    source = str(dataset.root / "testing" / "frames")
    command = ["--model", str(path), "--source", source, "--threshold", "0", "--output"]
    infer.main([*command, str(tmp_path / "whole")])
    score, scored = offline._score_one, []

    def counted(job, recording, report):
        scored.append(recording.entry.name)
        if scored == ["01", "02"]:
            raise KeyboardInterrupt
        return score(job, recording, report)

    monkeypatch.setattr(offline, "_score_one", counted)
    with pytest.raises(SystemExit) as stopped:
        infer.main([*command, str(tmp_path / "out")])
    assert stopped.value.code == 130
    known = json.loads((tmp_path / "out" / "alarms.json").read_text())["alarms"]
    assert [alarm["video"] for alarm in known] == ["01"]  # written a video at a time
    assert {video for video, _ in scores(tmp_path / "out")} == {"01"}
    assert not (tmp_path / "out" / "cube_scores.csv").exists()
    scored.clear()
    capsys.readouterr()
    infer.main([*command, str(tmp_path / "out")])
    assert scored == ["02"] and "an interrupted run goes on" in capsys.readouterr().out
    for name in ("frame_scores.csv", "alarms.json"):
        ours, theirs = ((tmp_path / each / name).read_bytes() for each in ("out", "whole"))
        assert ours == theirs
    pages = [(tmp_path / each / "report.html").read_text() for each in ("out", "whole")]
    assert len({page.count("data:image") for page in pages}) == 1
    assert len(list((tmp_path / "out" / "annotated").glob("*.mp4"))) == 2
    assert not (tmp_path / "out" / ".finished").exists()


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
        (["--max_side", "100"], "--max_side: FRD-UVAD makes"),
        (["--backend", "openvino"], "--backend openvino: FRD-UVAD scores"),
        (["--set", "data.crops=[3]"], "data.crops asks for [3]"),
        (["--false_alarms_per_hour", "1"], "no rate of false alarms is known"),
        (["--set", "pre_process.features.backend=s3d"], "needs weights"),
        (["--set", "frd.lr=1"], "only data, run, eval, alarms, pre_process can be set"),
    ],
)
def test_what_is_refused(scene, tmp_path, more, words, capsys):
    dataset, path = scene
    source = str(dataset.root / "testing" / "frames")
    command = ["--model", str(path), "--source", source, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        infer.main([*command, *more])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
