"""Stage 1 trains on, and is scored by, the last of a cube's four flows (HF2-VAD §3.1)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import export_onnx
import ml_memAE_sc_train
from datasets.cubes.dataset import CubeSet
from datasets.cubes.files import write_cubes
from engine.scoring.build import checkpoint_scorer
from engine.scoring.network import random_cubes
from tests.helpers.fabricated import MEMAE, VUNET, write_scene, write_training_cubes
from tests.helpers.tiny_checkpoint import write_checkpoint
from utils.checkpoint import load_checkpoint, load_finished

EARLIER, LAST = slice(0, 3), slice(3, 4)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scene")
    write_scene(root)
    write_training_cubes(root)
    return root


def train(scene: Path, folder: Path, changed: slice | None = None) -> dict:
    """The checkpoint of stage 1, after other flows were put in the place of some."""
    root = folder / "data"
    shutil.copytree(scene, root)
    if changed is not None:
        change_flows(root, changed)
    tree = {
        "data": {"name": "scene", "root": str(root)},
        "run": {"root": str(folder / "runs"), "device": "cpu", "num_threads": 1},
        "model": {"memae": MEMAE, "vunet": VUNET},
        "ml_memae_sc": {"num_epochs": 1, "batch_size": 16, "lr": 1e-3},
    }
    config = folder / "scene.yaml"
    config.write_text(yaml.safe_dump(tree))
    ml_memAE_sc_train.main(["--cfg_file", str(config)])
    return load_checkpoint(folder / "runs" / "scene" / "ml_memae_sc" / "last.pth")


def change_flows(root: Path, changed: slice) -> None:
    cubes = CubeSet.open(root, "training")
    appearance, motion = cubes.gather(np.arange(len(cubes)))
    motion[:, changed] = np.random.default_rng(7).normal(0, 3, motion[:, changed].shape)
    for number, name in enumerate(cubes.videos):
        folder = root / "cubes" / "training" / name
        shutil.rmtree(folder)
        facts = {"video": name, "split": "training", "num_frames": cubes.num_frames[name],
                 "width": 64, "height": 48, "settings": cubes.settings}  # fmt: skip
        with write_cubes(folder, facts) as writer:
            for row in np.flatnonzero(cubes.video_index == number):
                one = slice(row, row + 1)
                writer.append(
                    int(cubes.frames[row]), cubes.boxes[one], appearance[one], motion[one]
                )


def test_training_and_statistics_do_not_see_the_earlier_flows(scene, tmp_path):
    found = {
        name: train(scene, tmp_path / name, changed)
        for name, changed in (("plain", None), ("earlier", EARLIER), ("last", LAST))
    }
    plain = found["plain"]
    for key, tensor in plain["model"].items():
        assert torch.equal(tensor, found["earlier"]["model"][key]), key
    assert plain["statistics"] == found["earlier"]["statistics"]
    weight = "in_block.conv1.weight"
    assert not torch.equal(plain["model"][weight], found["last"]["model"][weight])
    for name in ("flow_error", "energy"):
        assert found["last"]["statistics"][name]["mean"] > 4 * plain["statistics"][name]["mean"]


@pytest.fixture(scope="module")
def stage1(tmp_path_factory) -> Path:
    path = write_checkpoint(tmp_path_factory.mktemp("run") / "last.pth", stage="ml_memae_sc")
    export_onnx.main(["--model", str(path)])
    return path


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_scores_do_not_see_the_earlier_flows(stage1, backend):
    cpu = torch.device("cpu")
    scorer = checkpoint_scorer(load_finished(stage1), stage1, cpu, backend)
    appearance, motion = random_cubes(5, seed=2)
    plain = scorer(appearance, motion)
    for changed in (EARLIER, LAST):
        other = motion.copy()
        other[:, changed] *= 3
        found = scorer(appearance, other)
        for name in ("flow_error", "energy"):
            same = np.allclose(found[name], plain[name], rtol=1e-5)
            assert same == (changed == EARLIER), name
    energy = np.square(motion[:, 3].astype(np.float32)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(plain["energy"], energy, rtol=1e-5)
