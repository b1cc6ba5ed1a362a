"""The order of circulating files: a perfect detector gets 100 whatever order they come in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import frd_eval
import frd_train
from models.frd.frd import FRD
from pre_process.make_pseudo_labels import main as make_pseudo_labels

SNIPPETS = {  # video -> snippets, and those that are abnormal
    "Abuse028": (7, (2, 4)),
    "Explosion004": (5, (0, 2)),
    "Normal_Videos_003": (9, (0, 0)),
    "Normal_Videos_100": (4, (0, 0)),
    "RoadAccidents001": (6, (3, 6)),
    "Vandalism007": (8, (5, 7)),
}
BY_NAME = list(SNIPPETS)
AS_LISTED = sorted(BY_NAME, key=lambda name: name.startswith("Normal"))  # as lists circulate


def perfect_detector(path):
    """A published file whose score rises with the first value of a feature."""
    scorer = FRD(256, 0).scorer
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.zero_()
        for layer in ("fc1", "fc2", "classifier"):
            scorer.get_submodule(layer).weight[0, 0] = 1.0
    torch.save({f"scorer.{key}": value for key, value in scorer.state_dict().items()}, path)


def labels_of(name):
    length, (start, stop) = SNIPPETS[name]
    return np.isin(np.arange(length), np.arange(start, stop)).astype(np.uint8)


def features_of(name):
    values = np.random.default_rng(len(name)).random((len(labels_of(name)), 2, 256), np.float32)
    values[:, :, 0] = 4 * labels_of(name)[:, None] + values[:, :, 0]
    return values


@pytest.fixture
def files(tmp_path):
    """Circulating files: features concatenated and labels in a row as listed, and the list."""
    perfect_detector(tmp_path / "best_ckpt.pkl")
    np.save(tmp_path / "Concat_test_10.npy", np.concatenate([features_of(n) for n in AS_LISTED]))
    row = np.concatenate([labels_of(name).repeat(16) for name in AS_LISTED])
    np.save(tmp_path / "gt-ucf.npy", row.astype(float))
    for order, names in (("sorted", BY_NAME), ("listed", AS_LISTED)):
        labels = {name: labels_of(name).repeat(16) for name in names}
        np.savez(tmp_path / f"{order}.npz", **labels)
    folder = tmp_path / "crops"
    folder.mkdir()
    for name in BY_NAME:
        for crop in range(2):
            np.save(folder / f"{name}_x264__{crop}.npy", features_of(name)[:, crop])
    lines = [f"F:\\UCF_Test_ten_i3d\\{name}_x264_i3d.npy" for name in AS_LISTED]
    (tmp_path / "ucf-i3d-test.list").write_text("\r\n".join(lines))
    stops = np.cumsum([SNIPPETS[name][0] for name in AS_LISTED])
    ranges = np.stack([np.concatenate([[0], stops[:-1]]), stops], axis=1)
    np.save(tmp_path / "nalist_test_i3d.npy", ranges)
    return tmp_path


def evaluate(files, features, labels, *more):
    command = ["--ckpt_path", f"{files}/best_ckpt.pkl", "--output", f"{files}/out"]
    command += ["--test_features", f"{files}/{features}", "--test_labels", f"{files}/{labels}"]
    frd_eval.main([*command, *more, "--set", "run.device=cpu"])
    return json.loads((files / "out" / "metrics.json").read_text())


LISTED = ("--test_list", "ucf-i3d-test.list")
CASES = {
    "array, labels in the list's order": ("Concat_test_10.npy", "listed.npz"),
    "array, labels by name, list": ("Concat_test_10.npy", "sorted.npz", *LISTED),
    "array, ranges, labels in a row, list": (
        "Concat_test_10.npy", "gt-ucf.npy", *LISTED, "data.testing_ranges=nalist_test_i3d.npy",
    ),
    "array, ranges, labels by name, list": (
        "Concat_test_10.npy", "sorted.npz", *LISTED, "data.testing_ranges=nalist_test_i3d.npy",
    ),
    "file a crop, labels in a row, list": ("crops", "gt-ucf.npy", *LISTED),
    "file a crop, labels by name": ("crops", "sorted.npz"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_perfect_detector_gets_100(files, case, capsys, monkeypatch):
    monkeypatch.chdir(files)
    features, labels, *more = CASES[case]
    settings = [text for text in more if "=" in text]
    options = [text for text in more if "=" not in text]
    found = evaluate(files, features, labels, *options, *(["--set", *settings] if settings else []))
    assert found["auc_micro"] == 1.0
    assert found["protocol"]["labels"].startswith(f"{labels} (SHA-256 ")
    order = "ucf-i3d-test.list" if options else {"listed.npz": "listed.npz"}.get(labels)
    assert found["protocol"].get("order of videos") == order
    printed = capsys.readouterr().out
    assert "labels: " in printed and "SHA-256" in printed


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        ("Concat_test_10.npy", "sorted.npz", "nothing states the order of its videos"),
        ("crops", "gt-ucf.npy", "nothing states the order of its 6 videos"),
    ],
)
def test_files_whose_order_nothing_tells_are_refused(files, features, labels, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate(files, features, labels)
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and words in printed and "--test_list" in printed
    assert not (files / "out" / "metrics.json").exists()


def test_a_detector_that_is_turned_round_is_told(files, capsys):
    state = torch.load(files / "best_ckpt.pkl", weights_only=True)
    state["scorer.classifier.weight"].neg_()
    torch.save(state, files / "best_ckpt.pkl")
    assert evaluate(files, "Concat_test_10.npy", "listed.npz")["auc_micro"] == 0
    assert "scorer: micro AUC 0.00 is below 40" in capsys.readouterr().out


def test_training_reads_a_file_a_crop_in_the_order_of_a_list(files, capsys):
    (files / "c.yaml").write_text(
        f"system: frd\ndata: {{name: ucf, root: {files}, training_features: {files}/crops, "
        f"training_list: {files}/ucf-i3d-test.list}}\n"
        f"run: {{device: cpu, root: {files}/runs}}\nmodel: {{feature_size: 256, num_blocks: 1}}\n"
        "c2fpl: {num_epochs: 1}\nfrd: {num_epochs: 1, cross_clip: 2}\n"
    )
    configured = ["--cfg_file", f"{files}/c.yaml"]
    make_pseudo_labels(configured)
    assert "6 videos, 39 snippets" in capsys.readouterr().out
    frd_train.main([*configured, "--stage", "c2fpl"])
    frd_train.main(configured)
    last = f"{files}/runs/ucf/frd/last.pth"
    frd_eval.main([*configured, "--ckpt_path", last, "--split", "training", "--output",
                   f"{files}/out"])  # fmt: skip
    with np.load(files / "out" / "snippet_scores.npz", allow_pickle=False) as scores:
        assert scores.files == AS_LISTED
        assert [len(scores[name]) for name in AS_LISTED] == [SNIPPETS[n][0] for n in AS_LISTED]
