"""The exported network says what PyTorch says, for any number of cubes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import export_onnx
import infer
from datasets.cubes.loader import to_network_inputs
from inference.backends import OnnxScorer, TorchScorer, build_scorer, onnx_path, random_cubes
from models.hf2vad.from_checkpoint import errors_of, model_from_checkpoint
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset
from utils.checkpoint import load_finished
from utils.errors import UserError


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny checkpoint and its exported network, by the script itself."""
    path = write_checkpoint(tmp_path_factory.mktemp("run") / "last.pth")
    export_onnx.main(["--model", str(path)])
    return path


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_onnxruntime_equals_pytorch(exported, count):
    checkpoint, cubes = load_finished(exported), random_cubes(count, seed=9)
    ours = build_scorer("torch", checkpoint, exported, torch.device("cpu"))(*cubes)
    theirs = build_scorer("onnx", checkpoint, exported, torch.device("cpu"))(*cubes)
    assert list(ours) == list(theirs) == ["flow_error", "frame_error", "energy", "steady_energy"]
    for name, expected in ours.items():
        assert theirs[name].shape == (count,)
        np.testing.assert_allclose(theirs[name], expected.numpy(), rtol=1e-3)


def test_the_fused_scorer_equals_the_model(exported):
    model = model_from_checkpoint(load_finished(exported), "x")
    cubes = random_cubes(4, seed=1)
    plain = errors_of(model, *to_network_inputs(*map(torch.from_numpy, cubes)))
    fused = TorchScorer(model, torch.device("cpu"))(*cubes)
    for name, expected in plain.items():
        np.testing.assert_allclose(fused[name].numpy(), expected.numpy(), rtol=1e-4)


def test_an_export_of_other_weights_is_refused(exported, tmp_path):
    other = write_checkpoint(tmp_path / "last.pth", seed=1)
    with pytest.raises(UserError, match="no such exported network; run: python export_onnx"):
        OnnxScorer(onnx_path(other), other)
    onnx_path(other).write_bytes(onnx_path(exported).read_bytes())
    with pytest.raises(UserError, match="was not exported from"):
        OnnxScorer(onnx_path(other), other)
    onnx_path(other).write_bytes(b"no network")
    with pytest.raises(UserError, match="not a readable ONNX file"):
        OnnxScorer(onnx_path(other), other)


def test_infer_runs_on_the_exported_network(exported, tmp_path):
    make_dataset(tmp_path / "data", {"testing": (12,)})
    source = tmp_path / "data" / "testing" / "frames" / "01"
    for backend in ("torch", "onnx"):
        infer.main(["--model", str(exported), "--source", str(source), "--no_video",
                    "--backend", backend, "--output", str(tmp_path / backend)])  # fmt: skip
    tables = [
        np.loadtxt(tmp_path / backend / "frame_scores.csv", delimiter=",", skiprows=1, usecols=2)
        for backend in ("torch", "onnx")
    ]
    assert len(tables[0]) == 8
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3, atol=1e-3)


def test_a_wrong_model_ends_with_a_message(tmp_path, capsys):
    path = tmp_path / "last.pth"
    torch.save({"format_version": 1, "weights": 3}, path)
    with pytest.raises(SystemExit) as stopped:
        export_onnx.main(["--model", str(path)])
    assert stopped.value.code == 2 and "lacks system" in capsys.readouterr().err
