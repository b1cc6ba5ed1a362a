"""Video of another size or rate than in training: scaled, thinned, refused; and said."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import infer
from datasets.manifest import VideoEntry
from inference.fitting import Fitting, fit_recordings, read_recording
from inference.live.arrival import arrival_rate
from inference.live.capture import open_live
from inference.sources import find_entries
from inference.thinning import Thinning
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import HEIGHT, WIDTH, moving_squares, write_timed_video
from utils.errors import UserError

TRAINED = {"width": WIDTH, "height": HEIGHT, "fps": 10.0}


def write(path: Path, frames: np.ndarray, fps: int, scale: int = 1) -> Path:
    """A video without loss whose every frame is shown ``scale`` times as large."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "bgr0"
        for picture in frames:
            large = np.ascontiguousarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "last.pth", video=TRAINED)


def watch(model: Path, source: Path, output: Path, *more: str) -> tuple[np.ndarray, dict]:
    infer.main(["--model", str(model), "--source", str(source), "--output", str(output),
                "--threshold", "0", "--no_video", *more])  # fmt: skip
    with (output / "frame_scores.csv").open(newline="") as handle:
        scores = [float(row["score"]) for row in csv.DictReader(handle) if row["score"]]
    return np.array(scores), json.loads((output / "alarms.json").read_text())


def test_twice_the_size_and_rate_gives_the_scores_and_times_of_training(model, tmp_path, capsys):
    frames = moving_squares(24)
    plain = write(tmp_path / "plain.mkv", frames, 10)
    large = write(tmp_path / "large.mkv", np.repeat(frames, 2, axis=0), 20, scale=2)
    scores, alarms = watch(model, plain, tmp_path / "a")
    assert "scaled" not in capsys.readouterr().out
    fitted, found = watch(model, large, tmp_path / "b")
    told = capsys.readouterr().out
    assert f"large.mkv: 192x128 scaled to {WIDTH}x{HEIGHT} (the training videos' size)" in told
    assert "20 frames per second, 1 of 2 is scored: 10" in told
    assert len(scores) == len(fitted) > 10
    np.testing.assert_allclose(scores, fitted, rtol=1e-5)
    assert found["seen"]["alarm_frames"] == alarms["seen"]["alarm_frames"] > 0
    ours, theirs = found["alarms"][-1], alarms["alarms"][-1]
    assert ours["end_seconds"] == pytest.approx(theirs["end_seconds"])


def test_too_few_frames_per_second_are_refused_with_the_remedies(model, tmp_path, capsys):
    slow = write(tmp_path / "slow.mkv", moving_squares(20), 5)
    with pytest.raises(SystemExit) as stopped:
        watch(model, slow, tmp_path / "a")
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and not (tmp_path / "a").exists()
    assert "slow.mkv: 5 frames per second, and the model was trained at 10" in told
    assert "--fps" in told and "--any_rate" in told
    scores, _ = watch(model, slow, tmp_path / "b", "--any_rate")
    assert "not 10 as in training (--any_rate)" in capsys.readouterr().out
    right, _ = watch(model, slow, tmp_path / "c", "--fps", "10")
    assert np.array_equal(scores, right)


def test_a_longest_side_is_kept_and_is_said_to_shrink_what_training_saw(tmp_path, capsys):
    fitting = Fitting(640, 360, max_side=320)
    assert fitting.size(3840, 2160) == (320, 180)
    fitting.say(3840, 2160, 10.0, 1.0, "x")
    assert "smaller than in training" in capsys.readouterr().out
    assert Fitting(max_side=1280).size(3840, 2160) == (1280, 720)
    assert Fitting(max_side=1280).size(640, 360) == (640, 360)
    unknown = write_checkpoint(tmp_path / "last.pth")
    clip = write(tmp_path / "a.mkv", moving_squares(20), 10, scale=2)
    watch(unknown, clip, tmp_path / "out", "--max_side", "96")
    assert "192x128 scaled to 96x64 (--max_side)" in capsys.readouterr().out


def test_the_shape_of_a_picture_is_kept():
    assert Fitting(640, 360).size(1920, 1080) == (640, 360)
    assert Fitting(640, 360).size(640, 480) == (480, 360)  # 4:3 into 16:9
    assert Fitting(640, 360).size(320, 180) == (640, 360)
    assert Fitting().size(123, 77) == (123, 77)


@given(st.integers(1, 500), st.floats(1.0, 40.0))
def test_thinned_frames_are_counted_and_evenly_spaced(num_frames, step):
    thinning = Thinning(10.0 * step, step)
    kept = [each for each in range(num_frames) if thinning.keeps(math.nan)]
    entry = VideoEntry("a", "testing", Path("a"), "video", 0, num_frames, 8, 8)
    (fitted,) = fit_recordings([entry], 10.0 * step, 25.0, Fitting(fps=10.0))
    factor = getattr(fitted.entry, "step", 1.0)
    thinning = Thinning(10.0 * step, factor)
    assert fitted.entry.num_frames == sum(thinning.keeps(math.nan) for _ in range(num_frames))
    assert fitted.fps == pytest.approx(10.0 * step / factor)
    assert kept[0] == 0 and all(abs(each - k * step) <= 1 for k, each in enumerate(kept))


@pytest.mark.parametrize(("fps", "step"), [(9.1, 1.0), (10.9, 1.0), (25.0, 2.5), (11.5, 1.15)])
def test_rates_within_a_tenth_are_the_same(fps, step):
    assert Fitting(fps=10.0).step(fps, "x") == pytest.approx(step)
    assert Fitting().step(fps, "x") == 1.0
    with pytest.raises(UserError, match=r"2(\.2)? times as fast"):
        Fitting(fps=2 * fps).step(fps, "x")


def test_a_part_of_a_folder_is_read_fitted(tmp_path):
    clip = write(tmp_path / "a.mkv", moving_squares(9), 20, scale=2)
    (recording,) = fit_recordings(find_entries(str(clip)), None, 25.0, Fitting(**TRAINED))
    frames = list(read_recording(recording))
    assert len(frames) == recording.entry.num_frames == 5
    assert {frame.picture.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_live_pictures_are_fitted_and_the_rate_is_what_is_left(tmp_path, capsys):
    clip = write(tmp_path / "a.mkv", moving_squares(12), 40, scale=2)
    frames = open_live(str(clip), None, 25.0, math.inf, 300.0, Fitting(**TRAINED))
    assert frames.fps == pytest.approx(10.0)
    taken = []
    while (got := frames.take(4, timeout=5)) is not None:
        taken += got
    frames.close()
    assert [each.index for each in taken] == [0, 1, 2]
    assert {each.frame.shape for each in taken} == {(HEIGHT, WIDTH, 3)}
    assert capsys.readouterr().out.count("scaled to") == 1
    slow = write(tmp_path / "b.mkv", moving_squares(4), 5)
    with pytest.raises(UserError, match="--any_rate"):
        open_live(str(slow), None, 25.0, math.inf, 300.0, Fitting(**TRAINED))


class Ticking:
    """A camera that gives a burst first and then 50 pictures a second, ``count`` in all."""

    def __init__(self, count: int, clock=time.monotonic) -> None:
        self.clock = clock
        self.left, self.burst = count, 8
        self.seconds = math.nan

    def read(self):
        self.left, self.burst = self.left - 1, self.burst - 1
        time.sleep(0.02 if self.burst < 0 else 0)
        self.seconds = self.clock() if self.burst < 0 else 0.0
        return (self.left >= 0), np.zeros((4, 4, 3), np.uint8)

    def release(self):
        pass


def test_the_rate_of_a_stream_is_measured_behind_its_first_burst():
    found = arrival_rate(Ticking(1000), settling=0.1, measured=0.4)
    assert found is not None and 1 < found[0] <= 51  # a busy machine is late, never early
    assert found[1]
    made_up = arrival_rate(Ticking(1000, lambda: 3 * time.monotonic()), settling=0.1, measured=0.4)
    assert made_up is not None and not made_up[1]
    assert arrival_rate(Ticking(9), settling=0.1, measured=0.4) is None


# A camera that gives thirty frames a second for a while, ten for a while, and has a hole.
UNEVEN = [*np.arange(0, 1, 1 / 30), *np.arange(1, 2, 0.1), *np.arange(3.05, 4, 1 / 30)]


def times_kept(times, fps: float, step: float) -> list[float]:
    thinning = Thinning(fps, step)
    return [each for each in times if thinning.keeps(each)]


def test_frames_at_uneven_intervals_are_thinned_by_their_times():
    average = len(UNEVEN) / 4
    kept = np.array(times_kept(np.round(UNEVEN, 3), average, average / 10))
    apart = np.diff(kept)
    assert apart.min() > 0.05 and np.sort(apart)[-2] < 0.15  # trained at 0.1, and the hole
    assert len(kept) == 30
    by_number = np.diff(np.array(UNEVEN)[:: round(average / 10)])
    assert by_number.min() < 0.07 and np.sort(by_number)[-4] > 0.19  # what counting would do


@pytest.mark.parametrize("fps", [30.0, 29.97, 25.0, 24.0, 23.976, 50.0, 60.0])
def test_even_times_rounded_to_milliseconds_give_even_frames(fps):
    times = np.round(np.arange(500) / fps, 3)
    kept = np.array(times_kept(times, fps, fps / 10))
    assert np.abs(kept - 0.1 * np.arange(len(kept))).max() < 1 / fps
    whole = np.array(times_kept(times, fps, 3.0))
    np.testing.assert_array_equal(whole, times[::3])


def test_a_clock_that_begins_anew_is_followed():
    times = [*np.arange(0, 1, 0.04), *np.arange(0, 1, 0.04)]
    assert times_kept(times, 25.0, 2.5) == times_kept(times[:25], 25.0, 2.5) * 2


def test_a_file_of_varying_rate_is_thinned_by_time_and_counted_right(tmp_path):
    path = write_timed_video(tmp_path / "uneven.mkv", UNEVEN, rate=30)
    (recording,) = fit_recordings(find_entries(str(path)), None, 25.0, Fitting(**TRAINED))
    kept = [frame.seconds for frame in read_recording(recording)]
    assert recording.entry.num_frames == len(kept) == 30
    apart = np.diff(kept)
    assert apart.min() > 0.05 and np.sort(apart)[-2] < 0.15
    assert recording.fps == pytest.approx(30 / 4, rel=0.05)
    (counted,) = fit_recordings(find_entries(str(path)), 30.0, 25.0, Fitting(**TRAINED))
    assert counted.entry.num_frames == len(list(read_recording(counted))) == 23


@pytest.mark.skipif("VAD_TEST_DATA" not in os.environ, reason="VAD_TEST_DATA names no folder")
def test_a_real_clip_of_varying_rate_keeps_its_times():
    clip = Path(os.environ["VAD_TEST_DATA"]) / "cases" / "vfr.mkv"  # 0.1 and 0.3 s apart
    (recording,) = fit_recordings(find_entries(str(clip)), None, 25.0, Fitting(fps=3.0))
    kept = np.array([frame.seconds for frame in read_recording(recording)])
    assert recording.entry.num_frames == len(kept)
    assert np.diff(kept).min() > 0.15 and np.diff(kept).max() < 0.65
