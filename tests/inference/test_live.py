"""Live runs: causal, bounded, whole whatever ends them."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import infer
from evaluation.scores import frame_scores
from evaluation.smoothing import causal_median
from inference.fitting import Recording
from inference.live.arrival import Intervals
from inference.live.frame_buffer import FrameBuffer, LiveFrame
from inference.live.loop import watch_live
from inference.live.writer import LiveSettings
from inference.offline import score_videos
from inference.predictor import load_predictor
from inference.sources import find_entries
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import moving_squares, write_video
from utils.errors import UserError
from utils.files import read_json

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return load_predictor(
        write_checkpoint(tmp_path_factory.mktemp("run") / "last.pth"), [], "torch", None
    )


def live(frames, first=0, gaps=()):
    return [
        LiveFrame(first + i, frame, 1e9 + i, time.monotonic(), dict(gaps).get(i, ""))
        for i, frame in enumerate(frames)
    ]


def score_all(predictor, frames, at_once=1):
    extractor, scorer, scored = predictor.live_extractor(), predictor.live_scorer(), []
    for start in range(0, len(frames), at_once):
        scored += scorer(extractor.push(frames[start : start + at_once]))
    return scored + scorer(extractor.finish())


def table(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


class Script:
    """A camera that shows given frames, then fails; ``has_end``: then it is over."""

    def __init__(self, frames, has_end=True):
        self.frames, self.has_end = list(frames), has_end

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        pass


@pytest.mark.parametrize("at_once", [1, 7])
def test_live_scores_are_the_causal_scores_of_the_whole_video(predictor, at_once):
    frames = moving_squares(30)
    scored = score_all(predictor, live(frames), at_once)
    assert [each.live.index for each in scored] == list(range(30))
    counts = [len(each.cubes.boxes) for each in scored]
    assert sum(counts) > 20 and 0 in counts
    cube_scores = np.concatenate([each.cube_scores for each in scored])
    index = np.repeat(np.arange(30), counts)
    (raw,) = frame_scores(
        cube_scores, np.zeros(len(index), int), index, [30], predictor.rule.zero_error_score
    )
    trim, size = predictor.smoothing.trim, predictor.smoothing.size
    assert [each.score for each in scored[:trim]] == [None] * trim
    found = [each.score for each in scored[trim:]]
    np.testing.assert_allclose(found, causal_median(raw[trim:], size), rtol=1e-5)


def test_a_score_does_not_depend_on_later_frames(predictor):
    frames = moving_squares(24)
    whole, part = score_all(predictor, live(frames)), score_all(predictor, live(frames[:15]))
    # Without moving regions not even on the next one.
    assert [each.score for each in part] == [each.score for each in whole[:15]]


def test_behind_a_gap_history_begins_anew_but_the_scene_is_known(predictor):
    frames = moving_squares(40)
    kept = np.concatenate([frames[:20], frames[30:]])
    scored = score_all(predictor, live(kept, gaps={20: "dropped"}))
    assert [each.score is None for each in scored[18:26]] == [False] * 2 + [True] * 4 + [False] * 2
    naive = score_all(predictor, live(kept))
    # Ten frames of motion in one step look violent; a new history never sees them.
    energy = [
        max((value for each in run[20:25] for value in each.errors.get("energy", [])), default=0)
        for run in (scored, naive)
    ]
    assert 0 < energy[0] < 0.5 * energy[1]
    # The detector needs no new background: it finds what an undisturbed one finds.
    found = [[each.cubes.boxes.tolist() for each in run[26:]] for run in (scored, naive)]
    assert found[0] == found[1] and any(found[0])
    # The smoothing window outlives the gap.
    raw = [each.cube_scores.max(initial=predictor.rule.zero_error_score) for each in scored]
    assert scored[24].score == pytest.approx(np.median([*raw[16:20], raw[24]]))


class Jumping(Script):
    """A camera that says of its frame number 3 that others are missing before it."""

    gap = ""

    def read(self):
        given = super().read()
        self.gap = "dropped" if len(self.frames) == 5 else ""
        return given


def test_gaps_that_a_camera_tells_and_pictures_of_another_size_reach_the_scoring():
    pictures = [*np.zeros((6, 64, 96, 3), np.uint8), *np.zeros((3, 48, 64, 3), np.uint8)]
    frames = FrameBuffer(lambda: Jumping(pictures), "x", max_delay=math.inf)
    taken = []
    while (got := frames.take(2, timeout=10)) is not None:
        taken += got
    assert [each.gap for each in taken] == [*[""] * 3, "dropped", "", "", "reconnected", "", ""]
    assert frames.lost == 1 and frames.dropped == 0


def test_jumps_are_longer_than_the_camera_s_usual_intervals():
    even, uneven = Intervals(), Intervals()
    times = [*np.arange(20), *np.arange(21, 30)]  # one is missing
    assert [even.is_jump(0.04 * each) for each in times].index(True) == 20
    assert not even.is_jump(math.nan) and not even.is_jump(2.0)  # not known, and nothing to compare
    # Every fourth frame comes late by nature; a hole is one all the same.
    passed = np.cumsum(np.tile([0.1, 0.1, 0.1, 0.3], 10))
    jumps = [uneven.is_jump(each) for each in passed]
    assert not any(jumps[10:]) and uneven.is_jump(passed[-1] + 0.6)
    assert uneven.is_jump(0.0)  # its clock began anew


def test_a_reconnected_camera_may_have_another_size(predictor):
    frames = [*moving_squares(8), *np.zeros((6, 48, 64, 3), np.uint8)]
    scored = score_all(predictor, live(frames, gaps={8: "reconnected"}))
    assert len(scored) == 14 and scored[-1].score == pytest.approx(predictor.rule.zero_error_score)


def test_a_live_run_on_a_video_writes_what_the_video_gives(predictor, tmp_path):
    clip = write_video(tmp_path / "clip.avi", 30, fps=200.0)
    infer.main(["--model", str(predictor.path), "--source", str(clip), "--live", "--max_delay",
                "inf", "--threshold", "0", "--output", str(tmp_path / "live"), "--set",
                "alarms.min_seconds=0", "alarms.merge_seconds=0"])  # fmt: skip
    frames = table(tmp_path / "live" / "frame_scores.csv")
    assert [int(row["frame"]) for row in frames] == list(range(4, 30))
    assert all(row["video"] == "clip" and row["time"].endswith("+00:00") for row in frames)
    (entry,) = find_entries(str(clip))
    score_videos(
        predictor, [Recording(entry, 10.0)], 0.0, tmp_path / "whole", "clip", with_video=False
    )
    ours, theirs = (table(tmp_path / each / "cube_scores.csv") for each in ("live", "whole"))
    theirs = [row for row in theirs if int(row["frame"]) >= predictor.smoothing.trim]
    assert [(r["frame"], r["x1"]) for r in ours] == [(r["frame"], r["x1"]) for r in theirs]
    for column in ("flow_error", "frame_error", "score"):
        np.testing.assert_allclose(
            [float(row[column]) for row in ours], [float(row[column]) for row in theirs], rtol=1e-4,
            atol=1e-4,
        )  # fmt: skip
    told = read_json(tmp_path / "live" / "alarms.json")
    in_alarm = sum(float(row["score"]) >= 0 for row in frames)
    assert sum(a["end_frame"] - a["start_frame"] + 1 for a in told["alarms"]) == in_alarm > 0
    lines = (tmp_path / "live" / "alarms.jsonl").read_text().splitlines()
    ended = [record for record in map(json.loads, lines) if record["event"] == "ended"]
    assert ended == told["alarms"] and len(lines) == 2 * len(ended)
    page = (tmp_path / "live" / "report.html").read_text()
    assert "30 came, 30 scored, 0 dropped" in page and "data:image/jpeg" in page
    capture = cv2.VideoCapture(str(tmp_path / "live" / "annotated.mp4"))
    assert sum(capture.grab() for _ in range(40)) == 30
    clip = cv2.VideoCapture(str(tmp_path / "live" / ended[0]["clip"]))
    assert ended[0]["clip"] == "clips/alarm-000001.mp4" and clip.grab()


def test_output_is_whole_when_the_camera_stays_away(predictor, tmp_path):
    camera = [Script(moving_squares(12), has_end=False)]
    frames = FrameBuffer(lambda: camera.pop() if camera else None, "gone", math.inf, 0.05)
    with pytest.raises(UserError, match="gone for"):
        watch_live(predictor, frames, 0.0, tmp_path, "gone", LiveSettings())
    assert [int(row["frame"]) for row in table(tmp_path / "frame_scores.csv")] == list(range(4, 12))
    assert read_json(tmp_path / "alarms.json")["seen"]["frames"] == 8
    assert "12 came" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_cleanly(predictor, tmp_path, number):
    """In this process, as the signal handler is the main thread's."""
    endless = SimpleNamespace(count=0, shown=0, has_end=False, release=lambda: None)
    before = signal.getsignal(number)

    def read():
        is_watching = signal.getsignal(number) != before
        written = tmp_path / "frame_scores.csv"
        if is_watching and not endless.count and written.exists() and len(table(written)) > 2:
            endless.count = 1  # once: afterwards the signal would end this process
            os.kill(os.getpid(), number)
        endless.shown += 1
        return True, moving_squares(1, endless.shown % 5)[0]

    endless.read = read
    frames = FrameBuffer(lambda: endless, "endless", max_delay=math.inf)
    watch_live(predictor, frames, None, tmp_path, "endless", LiveSettings())
    rows = table(tmp_path / "frame_scores.csv")
    assert rows and all(row["score"] for row in rows)
    capture = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert capture.isOpened() and (tmp_path / "report.html").exists()
    assert signal.getsignal(number) == before
