"""Clips of alarms: the right seconds, whole, bounded, and no reason to wait or to stop."""

from __future__ import annotations

import threading
import time

import av
import numpy as np
import pytest

from inference import clips
from inference.clips import ClipRecorder
from utils.config.alarms import AlarmConfig
from utils.errors import UserError

FPS = 10.0


def grey(level):
    return np.full((64, 96, 3), level, np.uint8)


def levels(path):
    """The grey levels of a clip's pictures, in steps of four."""
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return [round(picture.mean() / 4) for picture in pictures]


def record(folder, alarms, num_frames=60, **settings):
    """A video whose pictures have the level 4 * frame; ``alarms``: frame -> calls."""
    recorder = ClipRecorder(folder, FPS, AlarmConfig(**settings), may_drop=False)
    for frame in range(num_frames):
        recorder.picture(frame / FPS, grey(4 * frame))
        for method, *arguments in alarms.get(frame, ()):
            getattr(recorder, method)(*arguments)
    recorder.close()


def test_a_clip_begins_before_its_alarm_and_ends_after_it(tmp_path):
    # An alarm over frames 20 to 29 that is known of at frame 24 and over, it turns out, at 33.
    alarms = {24: [("start", "a", 2.0)], 33: [("end", "a", 3.0)]}
    record(tmp_path, alarms, before_seconds=0.5, after_seconds=1.0, min_seconds=0.5)
    assert levels(tmp_path / "a.mp4") == pytest.approx(list(range(15, 40)), abs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_two_alarms_near_each_other_have_a_clip_each(tmp_path):
    alarms = {10: [("start", "a", 1.0)], 15: [("end", "a", 1.5)], 18: [("start", "b", 1.8)]}
    record(tmp_path, alarms, 30, before_seconds=0.5, after_seconds=0.5)
    assert levels(tmp_path / "a.mp4") == pytest.approx(list(range(5, 20)), abs=1)
    assert levels(tmp_path / "b.mp4") == pytest.approx(list(range(13, 30)), abs=1)  # to the end


def test_the_clip_of_an_endless_alarm_is_cut(tmp_path):
    record(tmp_path, {5: [("start", "a", 0.5)]}, before_seconds=0, longest_clip_seconds=2)
    assert levels(tmp_path / "a.mp4") == pytest.approx(list(range(5, 25)), abs=1)


def test_a_camera_is_never_waited_for_and_old_clips_go(tmp_path, monkeypatch):
    blocked, slow = threading.Event(), clips.VideoWriter.write

    def write(writer, picture, seconds=None):
        blocked.wait(30)
        slow(writer, picture, seconds)

    monkeypatch.setattr(clips.VideoWriter, "write", write)
    settings = AlarmConfig(keep_clips=2, before_seconds=0, after_seconds=0, min_seconds=0)
    recorder = ClipRecorder(tmp_path, FPS, settings, may_drop=True)
    began = time.monotonic()
    for number in range(4):
        for frame in range(50):
            recorder.picture(10 * number + frame / FPS, grey(frame))
            if frame == 0:
                recorder.start(f"a{number}", 10 * number)
        recorder.end(f"a{number}", 10 * number + 1)
    assert time.monotonic() - began < 5
    blocked.set()
    for number in range(4, 7):  # now the thread keeps up
        recorder.picture(10 * number, grey(1))
        recorder.start(f"a{number}", 10 * number)
        recorder.end(f"a{number}", 10 * number)
        time.sleep(0.1)
    recorder.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_costs_the_clip_only(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise UserError("most often the disk is full")

    monkeypatch.setattr(clips.VideoWriter, "write", refuse)
    record(tmp_path, {5: [("start", "a", 0.5)], 9: [("end", "a", 0.9)]})
    assert "the clip of an alarm is left out: most often the disk is full" in caplog.text


def test_wide_pictures_are_made_small(tmp_path):
    recorder = ClipRecorder(tmp_path, FPS, AlarmConfig(), may_drop=False)
    recorder.picture(0.0, np.zeros((2162, 3840, 3), np.uint8))
    recorder.start("a", 0.0)
    recorder.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (1280, 720)
