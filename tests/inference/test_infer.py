"""infer.py on files and folders: the scores are eval.py's, the outputs whole, the errors clear."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import eval as eval_script
import infer
from datasets import videos
from evaluation.calibration import calibrate, describe_score
from inference.predictor import load_predictor
from pre_process.cubes.extraction import write_video_cubes
from pre_process.cubes.settings import cube_settings
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset, write_video
from utils.errors import UserError
from utils.run_folder import sole_writer


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def numbers(path, *columns):
    return np.array([[float(row[column] or "nan") for column in columns] for row in rows(path)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Two test videos with their cubes, and a checkpoint that knows where they are."""
    root = tmp_path_factory.mktemp("scene")
    dataset = make_dataset(root / "data", {"training": (9,), "testing": (26, 21)})
    path = write_checkpoint(root / "run" / "last.pth", data={"root": str(dataset.root)})
    predictor = load_predictor(path, [], "torch", None)
    settings = cube_settings(predictor.config.pre_process, dataset)
    for entry in dataset.entries:
        write_video_cubes(predictor.extractor(4), dataset.root, entry, settings)
    return dataset, path


@pytest.fixture(scope="module")
def watched(scene, tmp_path_factory):
    """The results of infer.py on the two videos."""
    dataset, path = scene
    output = tmp_path_factory.mktemp("watched")
    source = dataset.root / "testing" / "frames"
    infer.main(["--model", str(path), "--source", str(source), "--output", str(output),
                "--threshold", "0"])  # fmt: skip
    return output


def test_scores_are_those_of_evaluation(scene, watched, tmp_path):
    dataset, path = scene
    eval_script.main(["--model_save_path", str(path), "--output", str(tmp_path), "--set",
                      f"data.root={dataset.root}"])  # fmt: skip
    for name, keys, values in (
        ("frame_scores.csv", ("video", "frame"), ("score",)),
        ("cube_scores.csv", ("video", "frame", "x1", "y1", "x2", "y2"),
         ("flow_error", "frame_error", "score")),
    ):  # fmt: skip
        ours, theirs = rows(watched / name), rows(tmp_path / name)
        assert len(ours) == len(theirs) > 30
        assert [[row[k] for k in keys] for row in ours] == [
            [row[k] for k in keys] for row in theirs
        ]
        np.testing.assert_allclose(
            numbers(watched / name, *values),
            numbers(tmp_path / name, *values),
            rtol=1e-5,  # of float32, in batches of other sizes
            atol=1e-5,
        )


def test_alarms_and_annotated_videos_tell_the_same(watched):
    told = json.loads((watched / "alarms.json").read_text())
    assert told["threshold"] == 0 and told["threshold_source"] == "given on the command line"
    frames = rows(watched / "frame_scores.csv")
    in_alarm = {(row["video"], int(row["frame"])) for row in frames if float(row["score"]) >= 0}
    listed = {
        (alarm["video"], frame)
        for alarm in told["alarms"]
        for frame in range(alarm["start_frame"], alarm["end_frame"] + 1)
    }
    assert listed == in_alarm and told["seen"]["alarm_frames"] == len(in_alarm) > 0
    for name, length in (("01", 26), ("02", 21)):
        capture = cv2.VideoCapture(str(watched / "annotated" / f"{name}.mp4"))
        count = 0
        while capture.grab():
            count += 1
        assert count == length and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)


def test_the_report_shows_alarms_and_pictures(watched):
    page = (watched / "report.html").read_text()
    assert "of video; the highest score is" in page and "given on the command line" in page
    assert 'class="card alarm"' in page and "why: " in page and "watch the clip" in page
    told = json.loads((watched / "alarms.json").read_text())
    assert told["alarms"] and all((watched / a["clip"]).is_file() for a in told["alarms"])
    assert told["seen"]["alarms_per_hour"] is None  # from five seconds
    assert page.count("data:image/jpeg") >= 2 and "reconstructed flow" in page
    assert page.count('<th scope="row">01</th>') >= 1
    assert not list(watched.glob(".*part*"))


def test_a_video_is_decoded_once(scene, tmp_path, monkeypatch):
    """From source to scores, annotated video and the report's pictures."""
    _, path = scene
    decoded = []

    def counted(entry):
        decoded.append(entry.name)
        yield from frames_of_file(entry)

    frames_of_file = videos._frames_of_file
    monkeypatch.setattr(videos, "_frames_of_file", counted)
    write_video(tmp_path / "clip.avi", 30)
    infer.main(["--model", str(path), "--source", str(tmp_path / "clip.avi"), "--threshold", "0",
                "--output", str(tmp_path / "out")])  # fmt: skip
    assert decoded == ["clip"]
    assert (tmp_path / "out" / "annotated" / "clip.mp4").exists()
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") >= 2


def test_a_still_scene_has_the_score_of_no_error(tmp_path, scene):
    writer = cv2.VideoWriter(
        str(tmp_path / "still.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64)
    )
    for _ in range(12):
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    writer.release()
    output = tmp_path / "out"
    infer.main(["--model", str(scene[1]), "--source", str(tmp_path / "still.avi"), "--no_video",
                "--output", str(output)])  # fmt: skip
    predictor = load_predictor(scene[1], [], "torch", None)
    scores = numbers(output / "frame_scores.csv", "score")
    assert len(scores) == 8 and rows(output / "cube_scores.csv") == []
    # The centred median sees zeros beyond the ends, as the published one does.
    assert scores[3:5] == pytest.approx(predictor.rule.zero_error_score)
    assert json.loads((output / "alarms.json").read_text())["threshold"] is None


def test_the_first_stage_watches_too(scene, tmp_path):
    path = write_checkpoint(tmp_path / "last.pth", stage="ml_memae_sc")
    source = scene[0].root / "testing" / "frames" / "02"
    infer.main(["--model", str(path), "--source", str(source), "--output", str(tmp_path / "out"),
                "--threshold", "100"])  # fmt: skip
    cubes = rows(tmp_path / "out" / "cube_scores.csv")
    assert cubes and all(row["frame_error"] == "" for row in cubes)
    assert all(row["score"] == row["flow_error"] for row in cubes)  # as it is, not normalised
    assert "reconstructed flow" in (tmp_path / "out" / "report.html").read_text()


def test_thresholds_come_from_the_checkpoint_a_rate_or_the_command_line(tmp_path, scene):
    plain = load_predictor(scene[1], [], "torch", None)
    table = calibrate([np.arange(1000.0)], *describe_score(plain.rule, plain.smoothing))
    path = write_checkpoint(tmp_path / "last.pth", threshold=990.0, calibration=table)
    predictor = load_predictor(path, [], "torch", None)
    own = predictor.threshold(None, fps=10.0)
    assert own.value == 990.0 and "frames in a thousand" in own.expected
    given = predictor.threshold(5.0, fps=10.0)
    assert given.value == 5.0 and given.expected
    options = infer.parse_arguments(["--model", "x", "--source", "y",
                                     "--false_frames_per_thousand", "100"], "")  # fmt: skip
    chosen = predictor.threshold(options.alarm_level, fps=10.0)
    assert 900 <= chosen.value <= 910 and "for 100 frames per thousand" in chosen.source
    other = load_predictor(path, ["eval.w_frame=0.5"], "torch", None)
    assert other.threshold(None, 10.0) is None and other.threshold(5.0, 10.0).expected == ""
    with pytest.raises(UserError, match="calibrated for score"):
        other.threshold(options.alarm_level, 10.0)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        infer.main([str(each) for each in arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_wrong_models_are_refused(tmp_path, capsys, scene):
    source = ("--source", scene[0].root / "testing" / "frames")
    torch.save({"anything": 1}, tmp_path / "a.pth")
    assert "not a checkpoint" in fails(capsys, "--model", tmp_path / "a.pth", *source)
    frd = write_checkpoint(tmp_path / "frd.pth", system="frd")
    assert "of system 'frd' and stage 'finetune'" in fails(capsys, "--model", frd, *source)
    half = write_checkpoint(tmp_path / "half.pth", finished=False)
    assert "was not finished" in fails(capsys, "--model", half, *source)
    pre = {"boxes": {"backend": "file"}}
    given = write_checkpoint(tmp_path / "given.pth", pre_process=pre)
    message = fails(capsys, "--model", given, *source)
    assert "--set pre_process.boxes.backend=motion" in message
    assert "no such checkpoint" in fails(capsys, "--model", tmp_path / "none.pth", *source)
    wrong = ("--set", "model.memae.num_slots=3")
    assert "only data, run, eval, density, alarms, pre_process" in fails(
        capsys, "--model", scene[1], *source, *wrong
    )


def test_wrong_sources_and_folders_are_refused(tmp_path, capsys, scene, watched):
    model, source = ("--model", scene[1]), ("--source", scene[0].root / "testing" / "frames")
    assert "no such file or folder" in fails(capsys, *model, "--source", tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "can be opened" in fails(capsys, *model, "--source", tmp_path / "empty.mp4")
    assert "add --live" in fails(capsys, *model, "--source", "0")
    assert "earlier run" in fails(capsys, *model, *source, "--output", watched)
    with sole_writer(tmp_path / "busy"):
        busy = fails(capsys, *model, *source, "--output", tmp_path / "busy")
    assert "another run is writing here" in busy
    in_the_way = tmp_path / "empty.mp4" / "out"
    assert "Not a directory" in fails(capsys, *model, *source, "--output", in_the_way)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--fps", "0", "must be a number from 0.001 to 10000"),
        ("--fps", "inf", "must be a number from 0.001 to 10000"),
        ("--threshold", "nan", "must be a finite number"),
        ("--threshold", "high", "must be a finite number"),
        ("--false_alarms_per_hour", "nan", "must be a number above 0"),
        ("--keep_parts", "-1", "must be a whole number, 0 or more"),
        ("--part_minutes", "nan", "must be a number above 0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(capsys, option, value, words):
    message = fails(capsys, "--model", "x.pth", "--source", "y.mp4", f"{option}={value}")
    assert words in message and value in message


def test_a_read_only_folder_is_a_clear_error(scene, tmp_path, capsys, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    source = scene[0].root / "testing" / "frames" / "02"
    message = fails(capsys, "--model", scene[1], "--source", source, "--output", tmp_path / "x")
    assert f"{tmp_path / 'x'}: Read-only file system; the folder is read-only; choose" in message


def test_overwriting_replaces_results_and_keeps_other_files(scene, tmp_path):
    output, source = tmp_path / "out", scene[0].root / "testing" / "frames" / "02"
    (output / "annotated").mkdir(parents=True)
    for name in ("frame_scores.csv", "annotated/old.mp4", "notes.txt"):
        (output / name).write_text("old")
    infer.main(["--model", str(scene[1]), "--source", str(source), "--output", str(output),
                "--overwrite", "--no_video"])  # fmt: skip
    assert len(rows(output / "frame_scores.csv")) == 17
    assert (output / "notes.txt").exists() and not (output / "annotated/old.mp4").exists()
