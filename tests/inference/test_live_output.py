"""What a live run writes: whole, in parts, in bounded memory."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.evaluate import Threshold
from inference.live.alarm_log import AlarmLog
from inference.live.files import LiveResultFiles
from inference.live.frame_buffer import FrameBuffer, LiveFrame
from inference.live.latency import LatencyMeter
from inference.live.peak_curve import PeakCurve
from inference.live.scorer import ScoredFrame
from inference.live.server.state import LiveState
from inference.live.writer import LiveSettings, LiveWriter
from pre_process.cubes.extractor import FrameCubes
from utils.config.alarms import AlarmConfig
from utils.files import read_json
from visualization.annotate import Annotator, ScoreScale
from visualization.results import cube_columns, shown_errors

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ["flow_error", "energy", "velocity"]
ALARM = Threshold(2.0, "a test", "nothing")
EACH = AlarmConfig(merge_seconds=0, min_seconds=0, clips=False)  # every run of frames is an alarm


def last_picture(path):
    capture, picture = cv2.VideoCapture(str(path)), None
    while (answer := capture.read())[0]:
        picture = answer[1]
    return picture


class NoCamera:
    has_end = True

    def read(self):
        return False, None

    def release(self):
        pass


def explain(appearance, motion):
    assert appearance.shape == (1, 5, 32, 32, 3) and motion.shape == (1, 4, 32, 32, 2)
    flow = np.zeros((1, 2, 32, 32), np.float32)
    return {"frame_target": np.zeros((1, 3, 32, 32)), "flow": flow, "flow_recon": flow}


def why(errors):
    return f"flow error {errors['flow_error']:g}"


def scored(index, score, num_cubes=2):
    """A frame of which the second cube scores highest."""
    boxes = np.array([[2, 2, 20, 20], [30, 10, 60, 40]], np.float32)[:num_cubes]
    cubes = FrameCubes(
        index,
        boxes,
        np.zeros((num_cubes, 5, 32, 32, 3), np.uint8),
        np.zeros((num_cubes, 4, 32, 32, 2), np.float16),
    )
    cube_scores = np.array([score or 0, (score or 0) + 0.5])[:num_cubes]
    errors = {"flow_error": cube_scores, "energy": cube_scores}
    frame = np.full((64, 96, 3), index % 250, np.uint8)
    return ScoredFrame(LiveFrame(index, frame, 1e9 + index, 0.0), cubes, errors, cube_scores, score)


def table(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_alarms_are_told_with_times_and_a_picture(tmp_path, capsys):
    heard = SimpleNamespace(records=[])
    heard.tell = heard.records.append
    log = AlarmLog(tmp_path, "yard", ALARM, EACH, 1.0, 3, explain, why, [heard])
    for index, score in enumerate([None, 1.0, 2.0, 4.0, 3.0, 1.0, 1.0, 2.5]):
        log.add(scored(index, score))
    assert log.count == 2 and log.frames_in_alarm == 4
    log.write(log.stats(frames=7, seconds=10.0))
    first, running = read_json(tmp_path / "alarms.json")["alarms"]
    assert (first["event"], running["event"], running["id"]) == ("ended", "started", 2)
    log.close()
    log.write(log.stats(frames=7, seconds=10.0))
    first, second = read_json(tmp_path / "alarms.json")["alarms"]
    assert (first["start_frame"], first["end_frame"], first["peak_frame"]) == (2, 4, 3)
    assert (first["start_seconds"], first["end_seconds"], first["peak_seconds"]) == (2, 5, 3)
    assert first["peak_time"] == "2001-09-09T01:46:43.000+00:00" and first["peak_score"] == 4.0
    assert (second["start_frame"], second["end_frame"]) == (7, 7)
    lines = (tmp_path / "alarms.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == heard.records
    assert [(each["event"], each["id"]) for each in heard.records] == [
        ("started", 1), ("ended", 1), ("started", 2), ("ended", 2),
    ]  # fmt: skip
    assert [each for each in heard.records if each["event"] == "ended"] == [first, second]
    said = capsys.readouterr().out
    assert "ALARM 1: frame 2, score 2.00" in said and "alarm 1 over: 3.0 s, peak 4.00" in said
    assert len(log.pictures) == 2 and log.pictures[0].still.startswith(b"\xff\xd8")


def test_no_threshold_no_alarm_and_no_box_no_picture(tmp_path):
    log = AlarmLog(tmp_path, "yard", None, EACH, 1.0, 3, explain, why)
    log.add(scored(0, 9.0))
    log.close()
    assert log.count == 0
    log = AlarmLog(tmp_path, "yard", ALARM, EACH, 1.0, 3, explain, why)
    log.add(scored(0, 9.0, num_cubes=0))
    log.close()
    assert log.count == 1 and not log.pictures


def test_memory_does_not_grow_with_the_length_of_a_run(tmp_path):
    frames = FrameBuffer(NoCamera, "none")
    out = LiveWriter(
        tmp_path, "yard", frames, ALARM, Annotator(ScoreScale(0, 2), 2.0), ERRORS, 3, explain, why,
        LiveSettings(False, part_seconds=math.inf, status_seconds=math.inf, alarms=EACH),
    )  # fmt: skip

    def run(first, count):
        for index in range(first, first + count):
            out.add(scored(index, 1.0 if index % 40 else 3.0))
            out.tick()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = run(0, 1200)
        late = run(1200, 2400)
    finally:
        tracemalloc.stop()
    # Latencies and alarms still fill their rings; frames and cubes would be 70 MB.
    assert late - early < 1_000_000
    out.close()
    assert len(table(tmp_path / "frame_scores.csv")) == 3600
    assert "3600 scored" in (tmp_path / "report.html").read_text()


def test_lost_frames_are_gaps_and_densities_have_columns(tmp_path):
    state, frames = LiveState("yard"), FrameBuffer(NoCamera, "none")
    frames.lost = 2
    out = LiveWriter(
        tmp_path, "yard", frames, None, Annotator(ScoreScale(0, 2), 2.0),
        ERRORS, 3, explain, why, LiveSettings(alarms=EACH, state=state),
    )  # fmt: skip
    for index in (*range(20), *range(50, 70)):
        each = scored(index, 1.0)
        each.errors["velocity"] = each.cube_scores + 1
        out.add(each)
    out.close()
    rows = table(tmp_path / "cube_scores.csv")
    assert list(rows[0])[6:] == ["flow_error", "frame_error", "velocity", "score"]
    assert {(row["frame_error"], row["velocity"]) for row in rows} == {("", "2.0"), ("", "2.5")}
    values = [value for _, value in state.as_json()["curve"]]
    assert values.count(None) == 1 and values[20] is None
    assert state.status().gaps == 2
    assert "2 gaps in the stream" in (tmp_path / "report.html").read_text()
    numbers, peaks = out._curve.points()
    assert np.isnan(peaks).sum() == 30 and len(numbers) == 70
    # In the annotated video the line of 40 scores is broken for as long as frames were lost.
    strip = last_picture(tmp_path / "annotated.mp4")[-80:]
    drawn = (strip[40:, :].max(axis=2) > 120).any(axis=0)
    columns = np.flatnonzero(drawn)
    assert 25 < np.diff(columns).max() * 299 / 479 < 35


def test_a_killed_run_leaves_whole_lines(tmp_path):
    code = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from inference.live.files import LiveResultFiles\n"
        "files = LiveResultFiles(Path(sys.argv[1]), 10.0, True, 0, ['video', 'frame'])\n"
        "for frame in range(200):\n"
        "    files.frame(('c', frame, 0.5, '', 't'), [('c', frame, 1, 2, 3, 4, .1, .2, .3)] * 3)\n"
        "    files.picture(np.full((64, 96, 3), frame, np.uint8))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, timeout=120)
    assert [row["frame"] for row in table(tmp_path / "frame_scores.csv")] == [*map(str, range(200))]
    assert (tmp_path / "cube_scores.csv").read_text().endswith("0.3\n")


def test_parts_are_numbered_and_old_ones_removed(tmp_path):
    columns = cube_columns(shown_errors(ERRORS))
    files = LiveResultFiles(tmp_path, 10.0, True, 2, columns)
    for part in range(5):
        files.frame(("c", part, 1.0, "", "t"), [])
        files.picture(np.zeros((64, 96, 3), np.uint8))
        if part < 4:
            files.roll()
    files.close()
    assert sorted(path.name for path in tmp_path.glob("frame*")) == [
        "frame_scores.0003.csv", "frame_scores.0004.csv", "frame_scores.csv",
    ]  # fmt: skip
    assert table(tmp_path / "frame_scores.csv")[0]["frame"] == "4"
    assert (tmp_path / "annotated.0004.mp4").exists()


def test_a_size_that_comes_and_goes_costs_no_part(tmp_path):
    files = LiveResultFiles(tmp_path, 10.0, True, 2, cube_columns(shown_errors(ERRORS)))
    for shape in ((64, 96), (48, 64), (96, 64), (300, 20)) * 3:
        files.picture(np.full((*shape, 3), 200, np.uint8))
    files.close()
    assert not list(tmp_path.glob("annotated.0*"))
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        pictures = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert len(pictures) == 12 and {each.shape for each in pictures} == {(64, 96)}
    tall = pictures[2]  # 96x64 in 64x96: black on the left and right
    assert tall[:, :20].mean() < 40 < 160 < tall[:, 35:60].mean()


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(-10, 10)), min_size=1, max_size=80))
def test_the_peak_curve_keeps_every_peak_of_its_bins(steps):
    curve, frame, seen = PeakCurve(most_bins=16), -1, []
    for step, score in steps:
        frame += step
        curve.add(frame, score)
        seen.append((frame, score))
    frames, peaks = curve.points()
    width = curve.frames_per_bin
    assert len(frames) <= 16 and frame < 16 * width
    expected = {}
    for at, score in seen:
        expected[at // width] = max(score, expected.get(at // width, -math.inf))
    found = dict(zip((frames // width).tolist(), peaks.tolist(), strict=True))
    assert {at: peak for at, peak in found.items() if not math.isnan(peak)} == expected
    assert list(found) == list(range(min(expected), max(expected) + 1))  # a gap is a gap


def test_the_meter_counts_and_measures():
    now = [0.0]
    meter = LatencyMeter(lambda: now[0])
    for frame in range(100):
        now[0] = 0.1 * frame + 0.05
        meter.add(arrived=0.1 * frame)
    now[0] = 10.0
    assert meter.since_mark() == pytest.approx((10.0, 50.0, 50.0))
    now[0] = 20.0
    assert meter.since_mark() == (0.0, 0.0, 0.0)
    assert meter.overall() == pytest.approx((5.0, 50.0, 50.0)) and meter.frames == 100
