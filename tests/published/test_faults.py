"""Published files with faults: each is named, nothing in them runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from published.inputs import open_published
from tests.helpers.published_files import (
    LABELS,
    SMALL,
    make_files,
    small_state,
    write_config,
    write_labels,
)
from utils.errors import UserError


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A working folder with everything the published command names."""
    monkeypatch.chdir(tmp_path)
    return make_files(tmp_path)


def test_a_checkpoint_of_another_architecture_names_the_tensors(files):
    write_config(files / "cfg.yaml", {**SMALL, "feature_root": 4})
    with pytest.raises(UserError) as caught:
        open_published(files / "model.pth", files / "cfg.yaml")
    assert "model.pth: 100 tensor(s) do not fit" in str(caught.value)
    assert "memAE.down_1.mpconv.0.bias has shape (4,), the configured model needs (8,)" in str(
        caught.value
    )


def test_missing_memories_are_named(files):
    write_config(files / "cfg.yaml", {**SMALL, "mem_usage": [False, False, True, True]})
    with pytest.raises(UserError, match=r"unexpected memAE\.mem1\.memMatrix"):
        open_published(files / "model.pth", files / "cfg.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset_name": "ped3"}, r"dataset_name 'ped3'.*ped2, avenue, shanghaitech"),
        ({"device": "gpu"}, r"run\.device: 'gpu' is not allowed"),
        ({"w_r": None}, "w_r and w_p are needed"),
        ({"batchsize": "many"}, "batchsize: 'many' is not allowed"),
    ],
)
def test_faults_of_the_configuration(files, changes, said):
    write_config(files / "cfg.yaml", SMALL, **changes)
    with pytest.raises(UserError, match=said):
        open_published(files / "model.pth", files / "cfg.yaml")


@pytest.mark.parametrize("paras", [{"num_flows": 3}, {"spatial_size": 64}, {"skip_ops": ["sum"]}])
def test_other_architectures_are_refused(files, paras):
    write_config(files / "cfg.yaml", {**SMALL, **paras})
    with pytest.raises(UserError, match=f"{next(iter(paras))}: .* is not allowed|skip_ops"):
        open_published(files / "model.pth", files / "cfg.yaml")


@pytest.mark.parametrize("labels", [{0: np.zeros(6)}, {**LABELS, 2: np.zeros(5)}])
def test_labels_that_do_not_match_the_chunks(files, labels):
    write_labels(files / "data/ped2", labels)
    with pytest.raises(UserError, match="labels and chunks are not of the same data set"):
        open_published(files / "model.pth", files / "cfg.yaml")


def test_a_truncated_checkpoint_is_refused(files):
    content = (files / "model.pth").read_bytes()
    (files / "model.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model\.pth"):
        open_published(files / "model.pth", files / "cfg.yaml")


class Malicious:
    """Pickles to making a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("where", ["labels", "checkpoint"])
def test_malicious_files_do_not_run(files, where):
    attack = Malicious(files / "trace")
    if where == "labels":
        path = files / "data/ped2/ground_truth_demo/gt_label.json"
        path.write_bytes(pickle.dumps({0: attack}))
    else:
        torch.save({"model_state_dict": small_state(), "extra": attack}, files / "model.pth")
    with pytest.raises(UserError, match="refused"):
        open_published(files / "model.pth", files / "cfg.yaml")
    assert not (files / "trace").exists()


@pytest.mark.parametrize("folder", ["/somewhere/else", "../elsewhere"])
def test_folders_elsewhere_need_the_users_word(files, folder):
    tree = yaml.safe_load((files / "cfg.yaml").read_text())
    (files / "cfg.yaml").write_text(yaml.safe_dump(tree | {"dataset_base_dir": folder}))
    with pytest.raises(UserError, match=rf"dataset_base_dir: {folder}/ped2 .* data\.root="):
        open_published(files / "model.pth", files / "cfg.yaml")
    with pytest.raises(UserError, match=f"no folder {folder}/ped2"):
        open_published(files / "model.pth", files / "cfg.yaml", [f"data.root={folder}/ped2"])
