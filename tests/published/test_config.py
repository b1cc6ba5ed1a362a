"""Published checkpoints, configurations and data folders against the published numbers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.cubes.loader import CubeLoader, to_network_inputs
from engine.scoring.network import network_errors
from evaluation.scores import collect_errors, error_statistics
from models.hf2vad.from_checkpoint import model_from_checkpoint
from published.config import (
    PRE_PROCESS,
    is_published_config,
    load_published_config,
    to_our_config,
    to_published_config,
)
from published.inputs import open_published, published_labels, with_statistics
from tests.helpers.published_files import (
    SMALL,
    make_files,
    random_samples,
    small_state,
    write_checkpoint,
    write_chunks,
    write_config,
)
from utils.config.load import build_config, load_config


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A working folder with everything the published command names."""
    monkeypatch.chdir(tmp_path)
    return make_files(tmp_path)


def score(checkpoint, cubes) -> dict[str, np.ndarray]:
    """Errors of all cubes."""
    model = model_from_checkpoint(checkpoint, "checkpoint")
    return collect_errors(
        CubeLoader(cubes, 4),
        lambda batch: network_errors(model, *to_network_inputs(batch.appearance, batch.motion)),
    )


@pytest.mark.parametrize("name", ["hf2vad_3mem", "hf2vad_1mem"])
@pytest.mark.parametrize("stage1_alone", [False, True])
def test_errors_equal_the_published_ones(files, vad_data, name, stage1_alone):
    """Through published files: pixels are rounded to bytes there, which moves S_p by 1e-4."""
    reference = np.load(vad_data / "reference" / f"{name}.npz")
    state = {
        key.removeprefix("state/"): torch.from_numpy(np.array(reference[key], np.float32))
        for key in reference
        if key.startswith("state/")
    }
    if stage1_alone:
        state = {k.removeprefix("memAE."): v for k, v in state.items() if k.startswith("memAE.")}
    write_checkpoint(files / "model.pth", state)
    write_config(files / "cfg.yaml", json.loads(str(reference["config_json"])))
    frames = reference["input/frames"].astype(np.float32).reshape(6, 5, 3, 32, 32)
    flows = reference["input/flows"].astype(np.float32).reshape(6, 4, 2, 32, 32)
    samples = random_samples(6, 10)
    samples["appearance"] = np.rint(frames.transpose(0, 1, 3, 4, 2) * 255).astype(np.uint8)
    samples["motion"][:, 1:] = flows.transpose(0, 1, 3, 4, 2)
    for path in (files / "data/ped2/testing/chunked_samples").iterdir():
        path.unlink()
    write_chunks(files / "data/ped2/testing/chunked_samples", samples, [4, 2])

    run = open_published(files / "model.pth", files / "cfg.yaml")
    errors = score(run.checkpoint, run.testing)
    if stage1_alone:
        recon = reference["eval/memAE_last_flow.recon"].astype(np.float64)
        last = reference["input/flows"][:, -2:].astype(np.float64)
        expected = ((recon - last) ** 2).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(errors["flow_error"], expected, rtol=1e-4)
        assert run.checkpoint["stage"] == "ml_memae_sc"
    else:
        np.testing.assert_allclose(errors["flow_error"], reference["eval/score_flow"], rtol=1e-4)
        np.testing.assert_allclose(errors["frame_error"], reference["eval/score_frame"], rtol=1e-3)


def test_two_memories(files):
    usage = [False, False, True, True]
    write_config(files / "cfg.yaml", {**SMALL, "mem_usage": usage})
    state = small_state(mem_usage=usage)
    assert not any("mem1" in key for key in state)
    write_checkpoint(files / "model.pth", state)
    run = open_published(files / "model.pth", files / "cfg.yaml")
    assert np.isfinite(score(run.checkpoint, run.testing)["frame_error"]).all()


def test_lengths_come_from_the_labels(files):
    run = open_published(files / "model.pth", files / "cfg.yaml")
    assert run.testing.num_frames == {"01": 6, "02": 4}
    assert run.labels["02"].tolist() == [1, 0, 0, 0]
    assert len(run.testing) == 9


def test_statistics_are_computed_once(files, caplog):
    run = open_published(files / "model.pth", files / "cfg.yaml")
    caplog.set_level(logging.INFO)
    first = with_statistics(run, files / "results")["statistics"]
    assert "training statistics from" not in caplog.text
    training = {**run.checkpoint}
    expected = error_statistics(
        score(training, type(run.testing).open(files / "data/ped2", "training"))
    )
    assert first["flow_error"]["mean"] == pytest.approx(expected["flow_error"]["mean"], rel=1e-5)
    assert first["num_cubes"] == 7
    assert with_statistics(run, files / "results")["statistics"] == first
    assert "training statistics from" in caplog.text


def test_statistics_of_other_chunks_or_weights_are_computed_again(files):
    run = open_published(files / "model.pth", files / "cfg.yaml")
    first = with_statistics(run, files / "results")["statistics"]
    folder = files / "data/ped2/training/chunked_samples"
    write_chunks(folder, random_samples(7, 20, seed=2), [3, 4])
    second = with_statistics(run, files / "results")["statistics"]
    assert second["flow_error"]["mean"] != first["flow_error"]["mean"]
    state = {key: value * 1.1 for key, value in small_state().items()}
    write_checkpoint(files / "model.pth", state)
    run = open_published(files / "model.pth", files / "cfg.yaml")
    third = with_statistics(run, files / "results")["statistics"]
    assert third["flow_error"]["mean"] != second["flow_error"]["mean"]


def test_published_labels_of_the_three_data_sets(vad_data):
    expected = {
        "ped2/original_artifacts": (12, 2010, 1648, "01"),
        "avenue_labels": (21, 15324, 3712, "01"),
        "shanghaitech_labels": (107, 40791, 17326, "01_0014"),
    }
    for folder, (videos, frames, abnormal, first) in expected.items():
        labels = published_labels(vad_data / "data" / folder / "gt_label.json")
        assert (len(labels), sum(map(len, labels.values()))) == (videos, frames)
        assert sum(int(values.sum()) for values in labels.values()) == abnormal
        assert next(iter(labels)) == first
        assert list(labels) == sorted(labels)


def test_configuration_goes_there_and_back(files):
    published = load_published_config(files / "cfg.yaml")
    ours = to_our_config(published, "finetune", "cfg.yaml", ["pre_process.flow.weights=x.pth"])
    assert ours.pre_process.flow.width == 1024
    assert ours.pre_process.flow.weights == "x.pth"
    assert ours.model.memae.feature_root == 2
    assert (ours.eval.w_flow, ours.eval.w_frame) == (1.0, 0.1)
    assert ours.finetune.lr == 8e-5
    back = to_published_config(ours, "finetune")
    assert to_our_config(type(published)(**back), "finetune", "back").model_dump() == {
        **ours.model_dump(),
        "pre_process": to_our_config(published, "finetune", "cfg.yaml").pre_process.model_dump(),
    }
    assert is_published_config(files / "cfg.yaml")


@pytest.mark.parametrize("name", PRE_PROCESS)
def test_shipped_configurations_hold_the_published_numbers(name):
    root = Path(__file__).resolve().parents[2]
    shipped = load_config(root / "cfgs" / f"{name}.yaml").pre_process.boxes
    tree = {"data": {"name": name}, "pre_process": PRE_PROCESS[name]}
    published = build_config(tree, name).pre_process.boxes
    for key in ("score_threshold", "min_area", "cover_threshold", "moving_regions"):
        assert getattr(shipped, key) == getattr(published, key)
