"""All scoring backends agree with PyTorch, for any number of cubes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import export_onnx
import infer
from datasets.cubes.loader import to_network_inputs
from engine.scoring import openvino_backend
from engine.scoring.build import checkpoint_scorer, flow_reconstructor, model_scorer
from engine.scoring.network import TorchScorer, network_errors, random_cubes
from engine.scoring.onnx_backend import OnnxScorer, onnx_path
from engine.scoring.openvino_backend import BATCH_SIZES, OpenVINOScorer
from models.hf2vad.from_checkpoint import model_from_checkpoint
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset
from utils.checkpoint import load_finished
from utils.errors import UserError
from utils.runtime import autocast

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny checkpoint and its exported network, by the script itself."""
    path = write_checkpoint(tmp_path_factory.mktemp("run") / "last.pth")
    export_onnx.main(["--model", str(path)])
    return path


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_onnxruntime_equals_pytorch(exported, count):
    checkpoint, cubes = load_finished(exported), random_cubes(count, seed=9)
    ours = checkpoint_scorer(checkpoint, exported, CPU, "torch")(*cubes)
    theirs = checkpoint_scorer(checkpoint, exported, CPU, "onnx")(*cubes)
    names = ["flow_error", "frame_error", "energy", "steady_energy", "fast_energy"]
    assert list(ours) == list(theirs) == names
    for name, expected in ours.items():
        assert theirs[name].shape == (count,)
        np.testing.assert_allclose(theirs[name], expected.numpy(), rtol=1e-3)


def test_the_fused_scorer_equals_the_model(exported):
    model = model_from_checkpoint(load_finished(exported), "x")
    cubes = random_cubes(4, seed=1)
    plain = network_errors(model, *to_network_inputs(*map(torch.from_numpy, cubes)))
    fused = TorchScorer(model, CPU)(*cubes)
    for name, expected in plain.items():
        np.testing.assert_allclose(fused[name].numpy(), expected.numpy(), rtol=1e-4)


def relative_difference(found, expected):
    # Relative to the largest: a cube whose error is nearly 0 is all rounding.
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("stage1", [False, True])
@pytest.mark.parametrize("count", [1, 3, 9, 128, 131])
def test_openvino_equals_pytorch(exported, stage1, count):
    model = model_from_checkpoint(load_finished(exported), "x")
    model = model.memae if stage1 else model
    cubes = random_cubes(count, seed=count)
    ours, theirs = TorchScorer(model, CPU)(*cubes), OpenVINOScorer(model)(*cubes)
    assert list(ours) == list(theirs)
    for name, expected in ours.items():
        assert theirs[name].shape == (count,) and theirs[name].dtype == torch.float32
        assert relative_difference(theirs[name], expected) < 1e-5, name


def test_padding_changes_nothing(exported):
    scorer = OpenVINOScorer(model_from_checkpoint(load_finished(exported), "x"))
    appearance, motion = random_cubes(BATCH_SIZES[-1] + 7, seed=4)
    whole = scorer(appearance, motion)["frame_error"]
    for start, stop in ((0, 1), (3, 8), (100, 113)):
        part = scorer(appearance[start:stop], motion[start:stop])["frame_error"]
        torch.testing.assert_close(part, whole[start:stop], rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_differs_a_little_and_gives_float32(exported, backend):
    model, cubes = model_from_checkpoint(load_finished(exported), "x"), random_cubes(8, seed=2)
    exact = model_scorer(model, CPU, backend)(*cubes)
    rounded = model_scorer(model, CPU, backend, "bf16")(*cubes)
    for name, expected in exact.items():
        assert rounded[name].dtype == torch.float32
        assert relative_difference(rounded[name], expected) < 0.01, name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_flows_are_reconstructed_as_by_the_network(exported, precision):
    """In float32 also in the middle of a training step in bfloat16."""
    memae = model_from_checkpoint(load_finished(exported), "x").memae
    flows = torch.randn(5, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = memae(flows)["flow_recon"]
    with autocast(CPU, precision):
        found = flow_reconstructor(memae, CPU)(flows)
    assert relative_difference(found, expected) < 1e-5


def test_openvino_is_for_a_cpu_and_onnx_for_float32(exported):
    checkpoint = load_finished(exported)
    with pytest.raises(UserError, match="openvino runs on the CPU, not on cuda:0; take backend"):
        checkpoint_scorer(checkpoint, exported, torch.device("cuda:0"), "openvino")
    with pytest.raises(UserError, match="'fast': take one of auto, openvino, torch, onnx"):
        checkpoint_scorer(checkpoint, exported, CPU, "fast")
    with pytest.raises(UserError, match=r"onnx computes in float32; set eval\.precision=fp32"):
        checkpoint_scorer(checkpoint, exported, CPU, "onnx", "bf16")


def test_without_openvino_the_message_names_the_way_out(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install openvino.*eval\.backend=torch"):
        openvino_backend.OpenVINOScorer(model_from_checkpoint(load_finished(exported), "x"))


SIGNAL_AFTER_TWO_NETWORKS = """
import os, signal
import torch
from engine.scoring.openvino_backend import CompiledNetwork
from models.hf2vad.ml_memae_sc import MLMemAESC

signal.signal(signal.SIGTERM, lambda *_: print("handled"))
model = MLMemAESC(feature_root=2, num_slots=4).eval()
first = CompiledNetwork(model)
second = CompiledNetwork(model)
del first
del second
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_handled_after_two_networks_are_gone():
    """In a process of its own, which a broken signal stack would end."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AFTER_TWO_NETWORKS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr


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
    for backend in ("torch", "onnx", "openvino"):
        infer.main(["--model", str(exported), "--source", str(source), "--no_video",
                    "--backend", backend, "--output", str(tmp_path / backend)])  # fmt: skip
    tables = [
        np.loadtxt(tmp_path / backend / "frame_scores.csv", delimiter=",", skiprows=1, usecols=2)
        for backend in ("torch", "onnx", "openvino")
    ]
    assert len(tables[0]) == 8
    for table in tables[1:]:
        np.testing.assert_allclose(table, tables[0], rtol=1e-3, atol=1e-3)


def test_a_wrong_model_ends_with_a_message(tmp_path, capsys):
    path = tmp_path / "last.pth"
    torch.save({"format_version": 1, "weights": 3}, path)
    with pytest.raises(SystemExit) as stopped:
        export_onnx.main(["--model", str(path)])
    assert stopped.value.code == 2 and "lacks system" in capsys.readouterr().err
