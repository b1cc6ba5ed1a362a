"""Frames at uneven intervals: alarms, annotated videos and clips have the container's times."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

import infer
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_timed_video

# Ten frames a second, with pauses of half a second and of three.
TIMES = np.cumsum([0.0] + [0.1] * 5 + [0.5] + [0.1] * 8 + [3.0] + [0.1] * 8)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    return write_timed_video(tmp_path_factory.mktemp("uneven") / "uneven.mkv", TIMES, rate=10)


def watch(source: Path, folder: Path, *more: str) -> list[dict]:
    model = write_checkpoint(folder / "last.pth")
    infer.main(["--model", str(model), "--source", str(source), "--output", str(folder / "out"),
                "--threshold", "0", "--backend", "torch",
                "--set", "alarms.min_seconds=0", "eval.median=1", *more])  # fmt: skip
    return json.loads((folder / "out" / "alarms.json").read_text())["alarms"]


def shown_at(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_alarms_videos_and_clips_have_the_times_of_the_container(uneven, tmp_path):
    (alarm,) = watch(uneven, tmp_path)
    assert alarm["start_frame"] == 4 and alarm["end_frame"] == len(TIMES) - 1
    assert alarm["start_seconds"] == pytest.approx(TIMES[4], abs=1e-3)
    rate = len(TIMES) / (TIMES[-1] + 0.1)
    assert alarm["end_seconds"] == pytest.approx(TIMES[-1] + 1 / rate, abs=0.05)
    assert alarm["peak_seconds"] == pytest.approx(TIMES[alarm["peak_frame"]], abs=1e-3)
    annotated = shown_at(tmp_path / "out" / "annotated" / "uneven.mp4")
    assert annotated == pytest.approx(TIMES.tolist(), abs=2e-3)
    clip = shown_at(tmp_path / "out" / alarm["clip"])
    assert clip[-1] == pytest.approx(TIMES[-1], abs=2e-3)  # it begins with the video


def test_a_rate_that_is_stated_counts_frames_alone(uneven, tmp_path):
    (alarm,) = watch(uneven, tmp_path, "--fps", "10", "--no_video")
    assert alarm["start_seconds"] == pytest.approx(0.4)
    assert alarm["end_seconds"] == pytest.approx(len(TIMES) / 10)
