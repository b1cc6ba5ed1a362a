"""FRD-UVAD from features to results: training, resuming, variants, evaluation, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

import frd_eval
import frd_train
from datasets.features import loader
from datasets.features.dataset import FeatureSet
from datasets.features.settings import feature_settings
from datasets.features.snippet_scores import save_snippet_values
from datasets.toy.features import ToySettings, write_toy_features
from models.frd.c2fpl import C2FPLScorer
from models.frd.frd import FRD
from models.frd.scorers import (
    read_frd_checkpoint,
    reconstructor_from_checkpoint,
    scorer_from_checkpoint,
)
from pre_process.make_pseudo_labels import main as make_pseudo_labels
from utils.checkpoint import load_checkpoint
from utils.config.frd import FeatureConfig
from utils.files import write_json

SETTINGS = ToySettings(num_videos=6, snippets=(8, 14), crops=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set of features with planted anomalies, and its configuration file."""
    folder = tmp_path_factory.mktemp("frd")
    write_toy_features(folder / "data", settings=SETTINGS)
    (folder / "c.yaml").write_text(
        f"system: frd\ndata: {{name: toy, root: {folder / 'data'}}}\n"
        "run: {device: cpu, log_every: 1}\nmodel: {feature_size: 256, num_blocks: 1}\n"
        "c2fpl: {num_epochs: 1, batch_size: 16}\nfrd: {num_epochs: 1, batch_size: 16}\n"
    )
    make_pseudo_labels(["--cfg_file", str(folder / "c.yaml")])
    return folder


def train(data, root, *overrides, stage="frd"):
    """Run the training script; the checkpoint's path."""
    settings = [f"run.root={root}", *overrides]
    frd_train.main(["--cfg_file", f"{data}/c.yaml", "--stage", stage, "--set", *settings])
    return root / "toy" / stage / "last.pth"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Checkpoints of both stages in one run folder."""
    root = tmp_path_factory.mktemp("runs")
    return train(data, root, stage="c2fpl"), train(data, root, "frd.keep_every=1")


def test_variants_with_an_auxiliary_scorer(data, trained, tmp_path, capsys):
    scorer, model = trained
    frd_eval.main(["--ckpt_path", str(model), "--split", "training", "--output", str(tmp_path),
                   "--cfg_file", f"{data}/c.yaml"])  # fmt: skip
    scores = tmp_path / "snippet_scores.npz"
    with np.load(scores, allow_pickle=False) as archive:
        assert len(archive.files) == 6
    capsys.readouterr()
    for kind, file in (("scores", scores), ("c2fpl", scorer)):
        overrides = [f"frd.auxiliary.kind={kind}", f"frd.auxiliary.file={file}"]
        path = train(data, tmp_path / kind, *overrides, "frd.auxiliary.threshold=0")
        assert load_checkpoint(path, "frd")["finished"]
        assert f"({kind}) confirms 100.00% of the training snippets" in capsys.readouterr().out


def test_warns_when_the_auxiliary_scorer_confirms_nothing(data, trained, tmp_path, caplog):
    overrides = ["frd.auxiliary.kind=c2fpl", f"frd.auxiliary.file={trained[0]}"]
    path = train(data, tmp_path, *overrides, "frd.auxiliary.threshold=1")
    assert "nearly all pseudo labels are blanked" in caplog.text
    line = json.loads((path.parent / "log.jsonl").read_text())
    assert line["share_labels"] == 0 < line["share_error_labels"]


def test_the_auxiliary_threshold_is_a_deviation_above_the_mean_unless_given(data, tmp_path, capsys):
    """Scores of a scorer that reaches 0.5 nowhere, of one that is constant, and labels."""
    features = FeatureSet.open(data / "data" / "features" / "training")
    ramp = np.linspace(0, 0.01, len(features))
    share = np.mean(ramp >= ramp.mean() + ramp.std(ddof=1))
    mostly = (ramp > 0.001).astype(float)
    for scores, expected in ((ramp, share), (np.full(len(ramp), 0.1), 1), (mostly, mostly.mean())):
        save_snippet_values(tmp_path / "scores.npz", features, scores)
        overrides = ["frd.auxiliary.kind=scores", f"frd.auxiliary.file={tmp_path}/scores.npz"]
        train(data, tmp_path / f"{expected:.3f}", *overrides)
        assert f"(scores) confirms {expected:.2%} of" in capsys.readouterr().out


def test_stopped_inside_an_epoch_with_a_filled_bank_it_resumes_exactly(data, tmp_path, monkeypatch):
    overrides = ["frd.bank.enabled=true", "frd.bank.beta=0.5", "frd.bank.delta=-9", "run.seed=3"]
    overrides += ["frd.num_epochs=2", "frd.batch_size=8"]
    straight = load_checkpoint(train(data, tmp_path / "a", *overrides), "frd")
    gather = loader.FeatureLoader._gather
    served = []

    def stop_once(loader, plan, pools, step):
        served.append(step)
        if len(served) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return gather(loader, plan, pools, step)

    monkeypatch.setattr(loader.FeatureLoader, "_gather", stop_once)
    with pytest.raises(SystemExit):
        train(data, tmp_path / "b", *overrides)
    stopped = load_checkpoint(tmp_path / "b" / "toy" / "frd" / "last.pth", "frd")
    assert stopped["training"]["step_in_epoch"] > 0 and not stopped["finished"]
    resumed = load_checkpoint(train(data, tmp_path / "b", *overrides), "frd")
    for key, value in straight["model"].items():
        assert torch.equal(value, resumed["model"][key]), key
    kept = [each["training"]["memory"]["items"] for each in (straight, resumed)]
    assert len(kept[0]) == 4 and torch.equal(*kept)


def test_evaluation_writes_aligned_scores_and_metrics(data, trained, tmp_path, capsys):
    frd_eval.main(["--ckpt_path", str(trained[1]), "--output", str(tmp_path), "--plot",
                   "--cfg_file", f"{data}/c.yaml"])  # fmt: skip
    printed = capsys.readouterr().out
    assert "videos with an anomaly only: AUC" in printed and "frd, last epoch 1" in printed
    assert len(list((tmp_path / "plots").glob("testi_*.png"))) == 6
    assert {path.name for path in tmp_path.iterdir()} >= {"metrics.json", "report.html", "roc.png"}
    assert not (tmp_path / "cube_scores.csv").exists()
    rows = (tmp_path / "frame_scores.csv").read_text().splitlines()[1:]
    with np.load(tmp_path / "snippet_scores.npz", allow_pickle=False) as archive:
        expected = np.concatenate([archive[name].repeat(16) for name in sorted(archive.files)])
    np.testing.assert_allclose([float(row.split(",")[2]) for row in rows], expected, rtol=1e-6)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["branches"]) == {"scorer", "reconstruction", "no learning"}
    assert metrics["branches"]["no learning"]["auc_micro"] > 0.8
    known = load_checkpoint(trained[1], "frd")["statistics"]["score"]
    assert metrics["threshold"]["value"] == pytest.approx(known["mean"] + known["std"])


def test_what_the_options_change_is_kept_with_the_checkpoint(data, trained, tmp_path):
    """Mean and scale of the training features, beside the weights; neither as published."""
    features = [np.load(path) for path in (data / "data" / "features" / "training").glob("*.npy")]
    rows = np.concatenate(features)
    ours = load_checkpoint(trained[0], "frd")
    np.testing.assert_allclose(ours["feature_mean"], rows.mean((0, 1)), rtol=1e-3, atol=1e-5)
    assert set(ours["model"]) == set(C2FPLScorer(256).state_dict())
    scorer = scorer_from_checkpoint(read_frd_checkpoint(trained[0]), "ours")
    assert torch.equal(scorer.mean, ours["feature_mean"])
    options = ["c2fpl.centred=false", "c2fpl.balanced=false"]
    published = load_checkpoint(train(data, tmp_path, *options, stage="c2fpl"), "frd")
    assert "feature_mean" not in published
    rms = float(np.sqrt(np.square(rows).mean()))
    plain = train(data, tmp_path, "model.feature_scale=none")
    for path, expected in ((trained[1], rms), (plain, 1.0)):
        checkpoint = load_checkpoint(path, "frd")
        assert checkpoint["feature_scale"] == pytest.approx(expected, rel=1e-5)
        assert set(checkpoint["model"]) == set(FRD(256, 1).state_dict())
        assert float(scorer_from_checkpoint(checkpoint, "s").scale) == checkpoint["feature_scale"]
        model = reconstructor_from_checkpoint(checkpoint, "s")
        assert float(model.scale) == checkpoint["feature_scale"]


def test_best_on_test_is_marked(data, trained, tmp_path, capsys):
    command = ["--ckpt_path", str(trained[1]), "--output", str(tmp_path), "--cfg_file"]
    frd_eval.main([*command, f"{data}/c.yaml", "--select", "best-on-test"])
    assert "best on test of 2 checkpoints" in capsys.readouterr().out


@pytest.mark.parametrize("whole", [True, False])
def test_published_files_on_one_concatenated_array(data, tmp_path, whole, capsys):
    model, other = FRD(256, 2), C2FPLScorer(256)
    state = {f"scorer_c2fpl.{key}": value for key, value in other.state_dict().items()}
    state |= {"AE.encoder.weight": torch.zeros(512, 256), **model.state_dict()}
    if not whole:
        state = {key: value for key, value in state.items() if key.startswith("scorer.")}
    torch.save(state, tmp_path / "best_ckpt.pkl")
    videos = sorted((data / "data" / "features" / "testing").glob("*.npy"))
    np.save(tmp_path / "Concat_test.npy", np.concatenate([np.load(video) for video in videos]))
    command = ["--ckpt_path", f"{tmp_path}/best_ckpt.pkl", "--output", f"{tmp_path}/out"]
    command += ["--test_features", f"{tmp_path}/Concat_test.npy"]
    frd_eval.main([*command, "--test_labels", f"{data}/data/labels.npz", "--set", "run.device=cpu"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert ("reconstruction" in metrics["branches"]) == whole
    assert "published (best_ckpt.pkl)" in capsys.readouterr().out
    frames = np.load(tmp_path / "Concat_test.npy")
    with torch.inference_mode():
        scores = model.eval().scorer(torch.from_numpy(frames)[:, :, None])[:, 0]
    rows = (tmp_path / "out" / "frame_scores.csv").read_text().splitlines()[1:]
    ours = [float(row.split(",")[2]) for row in rows]
    np.testing.assert_allclose(ours, scores.numpy().repeat(16), rtol=1e-5)


def test_scores_only_without_labels(data, trained, tmp_path, capsys):
    features = data / "data" / "features" / "testing"
    command = ["--ckpt_path", str(trained[1]), "--output", str(tmp_path)]
    frd_eval.main([*command, "--test_features", str(features)])
    assert "no labels, so no metrics" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.feature_size=512"], "features of 256 values, but the model takes 512"),
        (["data.crops=[0,2]"], "holds 2 crop(s)"),
        (["data.training_features=nowhere"], "no such feature file"),
        (["frd.auxiliary.kind=c2fpl"], "no such checkpoint"),
        (["frd.auxiliary.kind=scores"], "needs file"),
        (["frd.cross_clip=3"], "1, 2 or 4"),
        (["frd.lamda_recon=1"], "unknown key"),
    ],
)
def test_what_training_refuses(data, tmp_path, overrides, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train(data, tmp_path, *overrides)
    assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_what_evaluation_refuses(data, trained, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((3, 2, 512), np.float32))
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "foreign.pth")
    last, labels = str(trained[1]), tmp_path / "labels.npz"
    np.savez(labels, a=np.zeros(10))
    for command, words in (
        ([last, "--test_features", str(tmp_path)], "but the model takes 256"),
        ([str(tmp_path / "foreign.pth")], "not a checkpoint of FRD-UVAD"),
        (
            [last, "--test_labels", str(labels), "--cfg_file", f"{data}/c.yaml"],
            "no labels of video testi_000",
        ),
        ([last, "--set", "frd.lr=1"], "only data, run, eval can be set"),
    ):
        with pytest.raises(SystemExit):
            frd_eval.main(["--ckpt_path", *command, "--output", str(tmp_path / "out")])
        assert words in capsys.readouterr().err


def test_short_videos_are_repeated_with_a_warning(tmp_path, caplog):
    np.save(tmp_path / "a.npy", np.ones((2, 1, 4), np.float32))
    features = loader.FeatureSet.open(tmp_path)
    batch = next(loader.FeatureLoader(features, 2, 4).epoch(0))
    assert sorted(batch.rows.tolist()) == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert "1 videos are shorter than an item's 4 snippets" in caplog.text


def test_features_of_other_settings_are_refused(data, trained, tmp_path, capsys, caplog):
    """In training, in making pseudo labels and in evaluation; unknown settings are said."""
    caplog.set_level("INFO")
    train(data, tmp_path / "unknown")
    assert "extracted with is not known (no settings.json)" in caplog.text
    root = tmp_path / "data"
    shutil.copytree(data / "data", root)
    settings = feature_settings(FeatureConfig(), 16)
    for split in ("training", "testing"):
        write_json(root / "features" / split / "settings.json", {"format_version": 1, **settings})
    here = f"data.root={root}"
    train(data, tmp_path / "same", here)
    frd_eval.main(["--ckpt_path", str(trained[1]), "--set", here, "--output", str(tmp_path / "e")])
    other = [here, "pre_process.features.crops=1", "data.frames_per_snippet=8"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train(data, tmp_path / "other", *other)
    message = capsys.readouterr().err
    assert "crops: 10 -> 1; frames_per_snippet: 16 -> 8; restore these keys" in message
    with pytest.raises(SystemExit):
        make_pseudo_labels(["--cfg_file", str(data / "c.yaml"), "--set", *other])
    assert "crops: 10 -> 1" in capsys.readouterr().err
    write_json(root / "features" / "testing" / "settings.json", settings | {"backend": "s3d"})
    with pytest.raises(SystemExit):
        frd_eval.main(["--ckpt_path", str(trained[1]), "--set", here])
    assert "backend: 's3d' -> 'hof'" in capsys.readouterr().err
    (tmp_path / "s3d.yaml").write_text(
        f"system: frd\ndata: {{name: toy, root: {root}}}\n"
        "pre_process: {features: {backend: s3d}}\n"
    )
    command = ["--ckpt_path", str(trained[1]), "--cfg_file", str(tmp_path / "s3d.yaml")]
    frd_eval.main([*command, "--output", str(tmp_path / "s3d")])
    assert "s3d.yaml: pre_process.features differ from the checkpoint's" in caplog.text
