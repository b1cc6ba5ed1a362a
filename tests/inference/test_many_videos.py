"""Folders of many videos: a bad one costs itself, and an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import infer
from inference import offline
from inference.fitting import UnreadableVideo
from inference.results.finished import FinishedVideos
from inference.video_cubes import KeptFrame, VideoResult
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video

TABLES = ("frame_scores.csv", "cube_scores.csv", "alarms.json")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three recordings, a thumbnail of each, and a model."""
    root = tmp_path_factory.mktemp("scene")
    (root / "yard").mkdir()
    for number in range(3):
        write_video(root / "yard" / f"{number}.avi", 10 + number, fps=10.0)
        cv2.imwrite(str(root / "yard" / f"{number}.jpg"), np.zeros((4, 4, 3), np.uint8))
    return root / "yard", write_checkpoint(root / "last.pth")


def run(model: Path, source: Path, output: Path, *more: str) -> int:
    try:
        infer.main(["--model", str(model), "--source", str(source), "--output", str(output),
                    "--threshold", "0", "--no_video", "--backend", "torch",
                    "--set", "alarms.min_seconds=0", *more])  # fmt: skip
    except SystemExit as stopped:
        return int(stopped.code)
    return 0


def test_a_video_whose_name_is_too_long_costs_itself(scene, tmp_path, capsys):
    source, model = scene
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "short.avi").write_bytes((source / "0.avi").read_bytes())
    (tmp_path / "in" / f"{'x' * 251}.avi").write_bytes((source / "1.avi").read_bytes())
    assert run(model, tmp_path / "in", tmp_path / "out") == 3
    assert "a name of 251 bytes is too long" in capsys.readouterr().err
    longest = tmp_path / "in" / f"{'x' * 251}.avi"
    longest.rename(tmp_path / "in" / f"{'x' * 220}.avi")
    assert run(model, tmp_path / "in", tmp_path / "out2") == 0
    assert list((tmp_path / "out2" / "clips").glob("x*.mp4"))


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run(scene[1], scene[0], output) == 0
    return output


def test_bad_files_are_left_out_and_told_with_code_3(
    scene, undisturbed, tmp_path, capsys, caplog, monkeypatch
):
    score = offline._score_one

    def breaking(job, recording, report):
        if recording.entry.name == "1":
            raise UnreadableVideo("1.avi: gone while it was scored")
        return score(job, recording, report)

    monkeypatch.setattr(offline, "_score_one", breaking)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in scene[0].iterdir():
        (mixed / path.name).symlink_to(path)
    (mixed / "bad.mp4").write_text("no video")
    (mixed / "0.mkv").symlink_to(scene[0] / "0.avi")  # of the same name
    (mixed / "notes").mkdir()
    assert run(scene[1], mixed, tmp_path / "out") == 3
    captured = capsys.readouterr()
    assert "2 left out, all others were scored:" in captured.err and "bad.mp4" in captured.err
    assert "1.avi: gone while it was scored" in captured.err
    assert "3 image(s) beside the videos are left out" in caplog.text
    assert "notes: a folder without images is not read" in caplog.text
    assert "4 video(s), 10 frames per second" in captured.out
    lines = (tmp_path / "out" / "frame_scores.csv").read_text().splitlines()
    names = list(dict.fromkeys(line.partition(",")[0] for line in lines[1:]))
    assert names == ["0_avi", "0_mkv", "2"]
    whole = (undisturbed / "frame_scores.csv").read_text().splitlines()
    assert [line for line in lines if line[0] == "2"] == [line for line in whole if line[0] == "2"]


def test_nothing_but_bad_files_is_an_error(tmp_path, scene, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.mp4").write_text("no video")
    assert run(scene[1], tmp_path / "in", tmp_path / "out") == 2
    assert "bad.mp4: not a video" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on_and_gives_the_same(scene, undisturbed, tmp_path, monkeypatch):
    score, scored = offline._score_one, []

    def counted(job, recording, report):
        scored.append(recording.entry.name)
        if scored == ["0", "1", "2"]:
            raise KeyboardInterrupt
        return score(job, recording, report)

    monkeypatch.setattr(offline, "_score_one", counted)
    output = tmp_path / "out"
    assert run(scene[1], scene[0], output) == 130
    alarms = json.loads((output / "alarms.json").read_text())["alarms"]
    assert {alarm["video"] for alarm in alarms} == {"0", "1"}  # written a video at a time
    clips = sorted(path.name for path in (output / "clips").iterdir())
    assert clips
    assert run(scene[1], scene[0], output, "alarms.merge_seconds=1") == 2  # another run
    scored.clear()
    assert run(scene[1], scene[0], output) == 0 and scored == ["2"]
    for name in TABLES:
        assert (output / name).read_bytes() == (undisturbed / name).read_bytes()
    page = (output / "report.html").read_text()
    assert page.count("data:image") == (undisturbed / "report.html").read_text().count("data:image")
    assert not list(output.glob(".fin*")) and run(scene[1], scene[0], output) == 2  # it is over


def test_a_finished_video_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    kept = [
        KeptFrame(n, n + 4, rng.integers(0, 9, (5, 2, 2, 3)).astype(np.uint8),
                  rng.normal(size=(4, 2, 2, 2)).astype(np.float16), bytes(range(n)))
        for n in range(3)
    ]  # fmt: skip
    boxes = rng.normal(size=(3, 4)).astype(np.float32)
    result = VideoResult("a", np.arange(9.0), np.arange(3), boxes, {"e": np.arange(3.0)}, kept)
    finished = FinishedVideos(tmp_path, "key")
    finished.begin()
    finished.keep(result, {"bytes": 5})
    again = FinishedVideos(tmp_path, "key")
    assert again.is_this_run() and not FinishedVideos(tmp_path, "other").is_this_run()
    read = again.get("a", {"bytes": 5})
    np.testing.assert_equal(read.__dict__ | {"kept": None}, result.__dict__ | {"kept": None})
    np.testing.assert_equal([tuple(each) for each in read.kept], [tuple(each) for each in kept])
    assert again.get("a", {"bytes": 6}) is None and again.get("b", {"bytes": 5}) is None
    next((tmp_path / ".finished").glob("*.npz")).write_bytes(b"damaged")
    assert again.get("a", {"bytes": 5}) is None
