"""The evaluation script on a fabricated scene and fabricated checkpoints."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch

from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import to_network_inputs
from datasets.labels.frame_labels import save_labels
from engine.scoring.network import network_errors
from eval import main
from evaluation.calibration import calibrate
from evaluation.metrics import auc
from evaluation.scales import RAW, ZScore
from evaluation.scores import ScoreRule, Term
from evaluation.smoothing import centred_median
from tests.helpers.fabricated import VIDEOS, write_checkpoint, write_scene
from utils.run_folder import sole_writer
from visualization.results import FILES


@pytest.fixture
def scene(tmp_path):
    write_scene(tmp_path / "data")
    return tmp_path / "data"


def run(path, *arguments):
    data = next((each / "data" for each in path.parents if (each / "data").is_dir()), "")
    main(["--model_save_path", str(path), "--set", f"data.root={data}", *map(str, arguments)])


def refused(capsys, path, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(path, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def expected_scores(root, model, rule, median):
    """The published chain once more, cube by cube."""
    cubes = CubeSet.open(root, "testing")
    appearance, motion = map(torch.from_numpy, cubes.gather(np.arange(len(cubes))))
    errors = network_errors(model, *to_network_inputs(appearance, motion))
    cube_scores = rule({name: values.numpy() for name, values in errors.items()})
    result = {}
    for number, name in enumerate(cubes.videos):
        scores = np.full(VIDEOS[name], rule.zero_error_score)
        for frame in range(VIDEOS[name]):
            here = (cubes.video_index == number) & (cubes.frames == frame)
            if here.any():
                scores[frame] = cube_scores[here].max()
        result[name] = centred_median(scores[4:], median)
    return result


def test_results_agree_with_each_other_and_with_the_protocol(scene, tmp_path, capsys):
    path = tmp_path / "runs" / "finetune" / "last.pth"
    model, checkpoint = write_checkpoint(path, scene)
    run(path, "--ablate")
    output, printed = path.parent / "eval", capsys.readouterr().out
    assert all((output / name).stat().st_size for name in FILES)
    assert printed.strip().splitlines()[-1] == f"report: {output / 'report.html'}"
    for name in ("hybrid", "flow branch", "frame branch", "no learning"):
        assert name in printed
    assert "last epoch 3" in printed and "median of 5 frames" in printed and "RBDC" in printed

    found = json.loads((output / "metrics.json").read_text())
    rows = read_csv(output / "frame_scores.csv")
    scores = np.array([float(row["score"]) for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    assert found["auc_micro"] == auc(scores, labels)
    assert found["protocol"]["frames"] == f"{len(rows)} (12 abnormal)"
    assert re.fullmatch(r"labels\.npz \(SHA-256 [0-9a-f]{12}\)", found["protocol"]["labels"])
    same = [row for row in found["ablation"] if row["smoothing"] == "median of 5 frames"]
    assert same[0]["hybrid"] == found["auc_micro"]
    assert found["provenance"]["checkpoint"] == str(path) and not found["best_on_test"]

    moments = checkpoint["statistics"]
    terms = [
        Term(name, weight, ZScore(moments[name]["mean"], moments[name]["std"]))
        for name, weight in (("flow_error", 1.0), ("frame_error", 0.5))
    ]
    rule = ScoreRule("hybrid", tuple(terms))
    expected = expected_scores(scene, model, rule, median=5)
    assert scores == pytest.approx(np.concatenate(list(expected.values())), rel=1e-4, abs=1e-4)
    cube_rows = read_csv(output / "cube_scores.csv")
    assert len(cube_rows) == len(CubeSet.open(scene, "testing"))
    assert float(cube_rows[0]["x2"]) == 20.0 and float(cube_rows[0]["frame_error"]) > 0


def test_stage_one_is_judged_by_its_own_error(scene, tmp_path, capsys):
    path = tmp_path / "memae" / "last.pth"
    model, _ = write_checkpoint(path, scene, stage="ml_memae_sc")
    run(path, "--output", tmp_path / "results")
    printed = capsys.readouterr().out
    assert "flow branch" in printed and "hybrid" not in printed and "frame branch" not in printed
    rule = ScoreRule("flow branch", (Term("flow_error", 1.0, RAW),))
    expected = expected_scores(scene, model, rule, median=5)
    rows = read_csv(tmp_path / "results" / "frame_scores.csv")
    found = [float(row["score"]) for row in rows]
    assert found == pytest.approx(np.concatenate(list(expected.values())), rel=1e-4)
    assert read_csv(tmp_path / "results" / "cube_scores.csv")[0]["frame_error"] == ""


def test_stage_two_and_an_energy_term(scene, tmp_path, capsys):
    path = tmp_path / "cvae" / "last.pth"
    write_checkpoint(path, scene, stage="cvae")
    run(path, "--set", "eval.w_energy=2", "eval.median=1")
    found = json.loads((path.parent / "eval" / "metrics.json").read_text())
    assert found["protocol"]["score"].endswith("2 * z(energy)")
    assert found["protocol"]["smoothing"] == "none"


def test_bfloat16_is_told_beside_the_numbers(scene, tmp_path, capsys):
    write_checkpoint(tmp_path / "last.pth", scene)
    run(tmp_path / "last.pth", "--set", "eval.precision=bf16")
    assert "network: bfloat16" in capsys.readouterr().out


def test_without_labels_there_are_scores_only(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    output = path.parent / "eval"
    run(path)
    (output / "notes.txt").write_text("mine")
    (scene / "labels.npz").unlink()
    (scene / "regions.csv").unlink()
    run(path)
    assert "no labels" in capsys.readouterr().out
    assert read_csv(output / "frame_scores.csv")[0]["label"] == ""
    assert not (output / "roc.png").exists()  # of the evaluation before
    assert (output / "notes.txt").read_text() == "mine"
    assert "auc_micro" not in json.loads((output / "metrics.json").read_text())
    assert "chooses by the test labels" in refused(capsys, path, "--select", "best-on-test")


def test_labels_of_wrong_length_leave_old_results_alone(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    run(path)
    before = {name: (path.parent / "eval" / name).read_bytes() for name in FILES}
    save_labels(scene, {name: np.zeros(29, np.uint8) for name in VIDEOS})
    message = refused(capsys, path)
    assert "'01' has 29 labels and 30 frames" in message
    assert before == {name: (path.parent / "eval" / name).read_bytes() for name in FILES}
    assert not list((path.parent / "eval").glob(".results*"))


def test_a_video_without_labels_is_named(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    save_labels(scene, {"01": np.zeros(30, np.uint8)})
    assert "no labels of test video '02'" in refused(capsys, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finished": False, "statistics": None}, "training was not finished (epoch 3)"),
        ({"finished": True, "statistics": None}, "resumes where it stopped"),
        ({"stage": "scorer"}, "stage 'scorer'"),
        ({"system": "frd"}, "'hf2vad' is needed"),
        ({"model": {}}, "another architecture"),
    ],
)
def test_unusable_checkpoints_are_refused(scene, tmp_path, capsys, changes, message):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene, **changes)
    assert message in refused(capsys, path)


def test_a_calibrated_threshold_holds_for_its_own_score_only(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    table = calibrate([np.arange(200.0)], "1 * z(flow_error) + 0.5 * z(frame_error)",
                      "median of 5 frames after dropping 4")  # fmt: skip
    write_checkpoint(path, scene, threshold=150.0, calibration=table)
    run(path)
    found = json.loads((path.parent / "eval" / "metrics.json").read_text())["threshold"]
    assert (found["value"], found["events"]) == (150.0, 2)
    assert found["source"] == "calibrated on normal training video"
    assert "250 frames in a thousand" in found["expected"]
    run(path, "--set", "eval.w_frame=0.7")
    found = json.loads((path.parent / "eval" / "metrics.json").read_text())["threshold"]
    assert "best F1" in found["source"]


def test_settings_from_elsewhere(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    config = tmp_path / "other.yaml"
    config.write_text(f"data: {{name: scene, root: {scene}}}\neval: {{median: 7}}\n")
    run(path, "--cfg_file", config, "--set", "eval.w_frame=0")
    found = json.loads((path.parent / "eval" / "metrics.json").read_text())
    assert found["protocol"]["smoothing"] == "median of 7 frames"
    assert found["protocol"]["score"] == "1 * z(flow_error)"
    assert "checkpoint brings its own model" in refused(
        capsys, path, "--set", "model.memae.num_slots=9"
    )
    assert "must be odd" in refused(capsys, path, "--set", "eval.median=4")


def test_cubes_of_other_settings_are_refused(scene, tmp_path, capsys, caplog):
    """The test cubes are as the checkpoint says, or as the configuration of their data set says."""
    path = tmp_path / "run" / "last.pth"
    _, checkpoint = write_checkpoint(path, scene)
    checkpoint["config"]["pre_process"]["flow"]["preset"] = "fast"
    write_checkpoint(path, scene, config=checkpoint["config"])
    message = refused(capsys, path)
    assert "cubes/testing: these cubes were extracted with other settings" in message
    assert "flow.preset: 'medium' -> 'fast'" in message
    config = tmp_path / "other.yaml"
    config.write_text(f"data: {{name: scene, root: {scene}}}\n")
    run(path, "--cfg_file", config)
    assert "other.yaml: its pre_process is not the one that" in caplog.text
    config.write_text(
        f"data: {{name: scene, root: {scene}}}\npre_process: {{flow: {{preset: ultrafast}}}}\n"
    )
    assert "'medium' -> 'ultrafast'" in refused(capsys, path, "--cfg_file", config)


def test_missing_cubes_and_frames_to_trim_are_told(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    assert "eval.trim drops" in refused(capsys, path, "--set", "eval.trim=100")
    shutil.rmtree(scene / "cubes")
    assert "no cubes there; run pre_process/extract_samples" in refused(capsys, path)


def test_best_on_test_is_marked_everywhere(scene, tmp_path, capsys):
    folder = tmp_path / "run"
    for number in (1, 2):
        write_checkpoint(folder / f"epoch_00{number}.pth", scene, seed=number, epoch=number)
    write_checkpoint(folder / "last.pth", scene, seed=4, epoch=4)
    single = {}
    for path in sorted(folder.glob("*.pth")):
        run(path, "--output", tmp_path / path.stem)
        numbers = json.loads((tmp_path / path.stem / "metrics.json").read_text())
        single[path.name] = numbers["auc_micro"]
    capsys.readouterr()
    run(folder / "last.pth", "--select", "best-on-test")
    printed = capsys.readouterr().out
    found = json.loads((folder / "eval" / "metrics.json").read_text())
    best = max(single, key=single.get)
    assert found["auc_micro"] == single[best] and found["best_on_test"]
    assert found["branches"]["hybrid, last epoch"]["auc_micro"] == single["last.pth"]
    chosen = found["protocol"]["checkpoint"]
    assert best in chosen and chosen.endswith("best on test of 3 checkpoints")
    report = (folder / "eval" / "report.html").read_text()
    for text in (printed, report, json.dumps(found)):
        assert "hybrid, best on test" in text and "best on test of 3 checkpoints" in text


def test_two_evaluations_into_one_folder_are_refused(scene, tmp_path, capsys):
    path = tmp_path / "run" / "last.pth"
    write_checkpoint(path, scene)
    with sole_writer(tmp_path / "results"):
        assert "another run" in refused(capsys, path, "--output", tmp_path / "results")
