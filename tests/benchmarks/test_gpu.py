"""The benchmark of a GPU, as far as it goes without one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu import checks, rows
from benchmarks.on_gpu.networks import SMALL
from benchmarks.on_gpu.rows import Row

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
# What a machine with a GPU may lack: all but torch, NumPy and the standard library.
ABSENT = (
    "accelerate", "av", "cv2", "distributed", "efficientnet_lite_pytorch", "fastapi", "jinja2",
    "matplotlib", "mmcv", "mmdet", "onnx", "onnxruntime", "openvino", "PIL", "pydantic", "scipy",
    "sklearn", "tensorboardX", "torchvision", "tqdm", "yaml",
)  # fmt: skip


def test_a_quick_run_on_the_cpu_has_every_row(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--quick", "--output", str(path)]) == 0
    result = json.loads(path.read_text())
    assert not result["left_out"] and all(check["good"] for check in result["checks"])
    names = {row["name"].split(",")[-1].strip() for row in result["rows"]}
    assert {"product", "copy", "stage1", "stage2", "stage3", "FlowNet2", "RAFT small"} <= names
    assert all(row["ours"] > 0 for row in result["rows"])
    printed = capsys.readouterr().out
    assert json.loads(next(line for line in printed.splitlines() if line.startswith("{"))) == result
    assert "FRD step of 6" in printed and "WRONG" not in printed


def test_it_runs_without_what_a_gpu_machine_lacks():
    blocked = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))"
    options = ["--device", "cpu", "--quick", "--only", "scoring", "frd"]
    unchecked = "from benchmarks import gpu; gpu._checks = lambda *_: []"
    code = f"{blocked}; {unchecked}; raise SystemExit(gpu.main({options!r}))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and "FRD step of 6" in ran.stdout, ran.stderr
    assert "left out" not in ran.stdout


def test_what_is_missing_is_named_and_the_rest_measured(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    monkeypatch.setattr(rows, "FlowNet2", torch.nn.Identity)
    monkeypatch.setattr(gpu, "_checks", lambda *_: [])
    assert gpu.main(["--device", "cpu", "--quick", "--only", "flow"]) == 0
    printed = capsys.readouterr().out
    assert "FlowNet2" in printed and "RAFT small" not in printed
    assert "left out: flow: ImportError" in printed


def test_a_wrong_result_is_found_and_said(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PARTS", {})
    right = checks.correlation
    results = iter([1.01, 1.0])
    monkeypatch.setattr(checks, "correlation", lambda *pair: next(results) * right(*pair))
    monkeypatch.setattr(gpu, "_checks", lambda *_: [checks.check_correlation(CPU, 0)])
    assert gpu.main(["--device", "cpu", "--quick"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_a_part_that_fails_keeps_its_rows_and_the_others(monkeypatch, capsys):
    def failing(*_):
        yield Row("half", "fp32", 1.0, "ms")
        raise RuntimeError("out of memory\nmore")

    parts = {"first": failing, "second": lambda *_: iter([Row("whole", "fp32", 2.0, "ms")])}
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "_checks", lambda *_: [])
    assert gpu.main(["--device", "cpu", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert "left out: first: RuntimeError: out of memory\n" in printed
    assert "half" in printed and "whole" in printed


def test_a_part_ends_when_time_is_up_and_later_ones_do_not_begin(monkeypatch, capsys):
    def endless(*_):
        yield Row("first", "fp32", 1.0, "ms")
        while True:
            try:
                time.sleep(0.001)
            except Exception:  # as a compiler would
                continue

    parts = {"long": endless, "late": lambda *_: iter([Row("never", "fp32", 2.0, "ms")])}
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "_checks", lambda *_: [])
    budget = time.perf_counter() - gpu.STARTED + 0.5
    assert gpu.main(["--device", "cpu", "--quick", "--budget", str(budget)]) == 0
    printed = capsys.readouterr().out
    assert "left out: long: time was up after 1 results" in printed and "first" in printed
    assert "left out: late: time was up after 0 results" in printed and "never" not in printed
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("stage", list(SMALL.batches))
def test_gradients_of_other_weights_are_wrong(monkeypatch, stage):
    """The check would see a device that computes something else."""
    seeds = iter([1, 2])
    new = checks.new_model
    monkeypatch.setattr(
        checks, "new_model", lambda sizes, dropout, seed: new(sizes, 0.0, next(seeds))
    )
    assert not all(check["good"] for check in checks.check_stage(SMALL, stage, CPU, 0))
