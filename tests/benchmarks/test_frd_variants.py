"""All variants of FRD-UVAD on tiny features, from labels to one table."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from benchmarks import frd_variants
from datasets.toy.features import ToySettings, write_toy_features
from utils.checkpoint import load_checkpoint
from utils.config.load import load_config


def training(folder):
    return sorted((folder / "data" / "features" / "training").glob("*.npy"))


def test_every_variant_is_trained_evaluated_and_told(tmp_path, capsys):
    write_toy_features(tmp_path / "data", settings=ToySettings(num_videos=6, snippets=(8, 14)))
    (tmp_path / "c.yaml").write_text(
        f"system: frd\ndata: {{name: toy, root: {tmp_path / 'data'}}}\n"
        "run: {device: cpu}\nmodel: {feature_size: 256, num_blocks: 1}\n"
        "c2fpl: {num_epochs: 1}\nfrd: {num_epochs: 1}\n"
    )
    command = ["--cfg_file", str(tmp_path / "c.yaml"), "--folder", str(tmp_path / "runs")]
    truth = {path.stem: np.zeros(len(np.load(path)), np.uint8) for path in training(tmp_path)}
    truth["train_000"][2:5] = 1
    np.savez(tmp_path / "truth.npz", **truth)
    every = [*frd_variants.VARIANTS, *frd_variants.EXPERIMENTS]
    more = ["--truth", str(tmp_path / "truth.npz"), "--variants", *every]
    frd_variants.main([*command, "--seeds", "4", *more])
    lines = capsys.readouterr().out.splitlines()
    table = [line.split() for line in lines[-19:]]
    scorers = [line[0] for line in table if line[1:2] == ["scorer"]]
    assert scorers == every
    labels = np.load(tmp_path / "runs" / "4" / "c2fpl_truth.npz")
    assert labels["train_000"].sum() == 3 and not labels["train_001"].any()
    gain = load_checkpoint(tmp_path / "runs" / "4" / "gain" / "frd" / "last.pth", "frd")
    weight = gain["model"]["decoder.norm.weight"]  # two steps from the features' RMS
    assert gain["config"]["model"]["feature_scale"] == "none"
    assert float(weight.mean()) == pytest.approx(gain["diagnosis"]["rms"], abs=0.01)
    assert all("to" in line for line in table[1:] if line[0] in scorers)
    path = tmp_path / "runs" / "4" / "one_crop" / "frd" / "last.pth"
    config = load_checkpoint(path, "frd")["config"]
    assert config["frd"]["auxiliary"]["kind"] == "scores" and config["run"]["seed"] == 4


def test_the_published_behaviour_is_that_of_the_published_configuration(tmp_path):
    tree = {"system": "frd", "data": {"name": "x"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    config = load_config(tmp_path / "c.yaml", frd_variants.PUBLISHED, system="frd")
    published = load_config("cfgs/frd_ucf_crime.yaml", system="frd")
    for block in ("model", "c2fpl"):
        assert getattr(config, block) == getattr(published, block)
    assert config.frd.auxiliary == published.frd.auxiliary
    assert config.pre_process.pseudo_labels == published.pre_process.pseudo_labels


def test_faults_of_the_configuration_come_first(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("system: frd\ndata: {name: x}\nmodle: {}\n")
    with pytest.raises(SystemExit):
        frd_variants.main(["--cfg_file", f"{tmp_path}/c.yaml", "--folder", str(tmp_path)])
    assert "unknown key" in capsys.readouterr().err
