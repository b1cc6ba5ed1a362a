"""The published evaluation command, word for word, on published-format files."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.signal import medfilt
from sklearn.metrics import roc_auc_score

from datasets.cubes.loader import CubeLoader, to_network_inputs
from engine.scoring.network import network_errors
from eval import main
from evaluation.scores import collect_errors
from models.hf2vad.from_checkpoint import model_from_checkpoint
from published.chunks import ChunkSet
from published.inputs import open_published
from tests.helpers.published_files import (
    SMALL,
    random_samples,
    small_state,
    write_checkpoint,
    write_chunks,
    write_config,
    write_labels,
)

MODEL = "./pretrained_ckpts/ped2_HF2VAD_99.31.pth"
CONFIG = "./pretrained_ckpts/ped2_HF2VAD_99.31_cfg.yaml"
COMMAND = [f"--model_save_path={MODEL}", f"--cfg_file={CONFIG}"]
LENGTHS = (30, 24)
LABELS = {0: np.repeat([0.0, 1.0], 15), 1: np.repeat([1.0, 0.0], [8, 16])}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder as the published README lays it out."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data" / "ped2"
    testing = random_samples(60, sum(LENGTHS))
    write_chunks(data / "testing" / "chunked_samples", testing, [25, 25, 10])
    write_chunks(data / "training" / "chunked_samples", random_samples(30, 40, 1), [20, 10])
    write_labels(data, LABELS)
    Path("pretrained_ckpts").mkdir()
    write_config(Path(CONFIG), SMALL, w_r=0.7, w_p=0.3)
    write_checkpoint(Path(MODEL), small_state())
    return tmp_path


def published_chain(folder: Path) -> tuple[list[np.ndarray], float]:
    """Frame scores and AUC as the published evaluation computes them, step by step."""
    run = open_published(MODEL, CONFIG)
    model = model_from_checkpoint(run.checkpoint, MODEL)

    def errors(cubes: ChunkSet) -> dict[str, np.ndarray]:
        return collect_errors(
            CubeLoader(cubes, 7),
            lambda batch: network_errors(model, *to_network_inputs(batch.appearance, batch.motion)),
        )

    training = errors(ChunkSet.open(folder / "data/ped2", "training"))
    found = errors(run.testing)
    means = {key: (values.mean(), values.std()) for key, values in training.items()}

    def hybrid(flow_error, frame_error):
        flow = (flow_error - means["flow_error"][0]) / means["flow_error"][1]
        frame = (frame_error - means["frame_error"][0]) / means["frame_error"][1]
        return 0.7 * flow + 0.3 * frame

    joined = np.full(sum(LENGTHS), hybrid(0.0, 0.0))
    frames = random_samples(60, sum(LENGTHS))["pred_frame"][:, 0]
    cube_scores = hybrid(found["flow_error"], found["frame_error"])
    for frame in np.unique(frames):
        joined[frame] = cube_scores[frames == frame].max()
    videos = [medfilt(part[4:], 17) for part in np.split(joined, [LENGTHS[0]])]
    labels = np.concatenate([values[4:] for values in LABELS.values()])
    return videos, roc_auc_score(labels, np.concatenate(videos))


def test_the_command_gives_the_published_numbers(folder, caplog, capsys):
    caplog.set_level(logging.WARNING)
    main(COMMAND)
    results = folder / "eval" / "ped2_released"
    scores, expected_auc = published_chain(folder)
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["auc_micro"] == pytest.approx(expected_auc, abs=1e-6)
    with (results / "frame_scores.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = [float(row["score"]) for row in rows if row["score"]]
    np.testing.assert_allclose(found[-len(scores[1]) :], scores[1], rtol=1e-4)
    assert (results / "report.html").is_file()
    assert (results / "training_statistics.json").is_file()
    assert "cuda:0 is not there; using the CPU" in caplog.text
    assert "by test AUC" in capsys.readouterr().out


def test_output_and_overrides(folder):
    main([*COMMAND, "--output", "elsewhere", "--set", "eval.w_frame=0", "--ablate"])
    with_flow_only = json.loads(Path("elsewhere/metrics.json").read_text())["auc_micro"]
    assert not Path("eval").exists()
    main([*COMMAND, "--output", "elsewhere"])
    assert json.loads(Path("elsewhere/metrics.json").read_text())["auc_micro"] != with_flow_only


def test_statistics_are_kept_beside_the_results(folder):
    main(COMMAND)
    before = json.loads(Path("eval/ped2_released/metrics.json").read_text())
    statistics = Path("eval/ped2_released/training_statistics.json")
    stamp = statistics.stat().st_mtime_ns
    main(COMMAND)
    assert statistics.stat().st_mtime_ns == stamp
    assert (
        json.loads(Path("eval/ped2_released/metrics.json").read_text())["auc_micro"]
        == (before["auc_micro"])
    )


def test_stage_1_alone_needs_no_training_chunks(folder):
    state = small_state()
    stage1 = {k.removeprefix("memAE."): v for k, v in state.items() if k.startswith("memAE.")}
    write_checkpoint(Path("ckpt.pth"), stage1)
    for path in Path("data/ped2/training/chunked_samples").iterdir():
        path.unlink()
    main(["--model_save_path=ckpt.pth", f"--cfg_file={CONFIG}", "--output", "stage1"])
    assert 0 <= json.loads(Path("stage1/metrics.json").read_text())["auc_micro"] <= 1


def test_frames_beside_the_chunks_are_shown(folder):
    main([*COMMAND, "--output", "without"])
    for name, length in zip(("Test001", "Test002"), LENGTHS, strict=True):
        frames = folder / "data/ped2/testing/frames" / name
        frames.mkdir(parents=True)
        for index in range(length):
            cv2.imwrite(str(frames / f"{index:03d}.jpg"), np.full((240, 360, 3), 90, np.uint8))
    main([*COMMAND, "--output", "with"])
    sizes = [Path(name, "report.html").stat().st_size for name in ("with", "without")]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("missing", ["training", "testing", "ground_truth_demo"])
def test_a_missing_part_is_named(folder, capsys, missing):
    (folder / "data" / "ped2" / missing).rename(folder / "moved")
    with pytest.raises(SystemExit) as stop:
        main(COMMAND)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert missing in error
    assert "Traceback" not in error


def test_published_weights_without_their_configuration(folder, capsys):
    with pytest.raises(SystemExit):
        main([COMMAND[0]])
    assert "--cfg_file" in capsys.readouterr().err
