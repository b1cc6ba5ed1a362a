"""What may be watched: files, folders, cameras that are slow, break off or stay away."""

from __future__ import annotations

import math
import queue
import threading
import time

import cv2
import numpy as np
import pytest

from datasets.rates import frame_rate
from datasets.video_files import TimedFrame
from inference.live import frame_buffer
from inference.live.capture import PacedVideo, open_live
from inference.live.frame_buffer import FrameBuffer
from inference.sources import find_entries, is_stream, source_name
from tests.helpers.tiny_videos import moving_squares, write_video
from utils.errors import UserError


class FakeCamera:
    """Shows numbered frames; ``None`` in the script means a failed read; then it is over."""

    has_end = True

    def __init__(self, script):
        self.script = list(script)

    def read(self):
        if not self.script:
            return False, None
        number = self.script.pop(0)
        if number is None:
            return False, None
        return True, np.full((8, 8, 3), number, np.uint8)

    def release(self):
        pass


class BreakingCamera(FakeCamera):
    """As a real camera: a failed read is no end."""

    has_end = False


class GatedCamera:
    """Shows a frame when the test says so."""

    has_end = True

    def __init__(self):
        self.frames = queue.Queue()

    def show(self, *numbers):
        for number in numbers:
            self.frames.put(number)

    def read(self):
        number = self.frames.get(timeout=60)
        return (False, None) if number is None else (True, np.full((8, 8, 3), number, np.uint8))

    def release(self):
        pass


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def numbers(frames):
    return [int(live.frame[0, 0, 0]) for live in frames]


def take_all(frames):
    taken = []
    while (batch := frames.take(4, timeout=1.0)) is not None:
        taken += batch
    return taken


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(frame_buffer, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(frame_buffer, "_LONGEST_PAUSE", 0.02)


def test_a_file_a_folder_of_videos_and_a_folder_of_frames(tmp_path):
    clip = write_video(tmp_path / "clip.avi")
    (entry,) = find_entries(str(clip))
    assert (entry.name, entry.num_frames, entry.width, entry.height) == ("clip", 12, 96, 64)
    assert frame_rate(entry, 25.0) == pytest.approx(5.0)
    write_video(tmp_path / "alley.avi", 7)
    assert [each.name for each in find_entries(str(tmp_path))] == ["alley", "clip"]
    shots = tmp_path / "shots"
    shots.mkdir()
    for index in range(6):
        cv2.imwrite(str(shots / f"{index}.png"), np.zeros((20, 30, 3), np.uint8))
    (entry,) = find_entries(str(shots))
    assert (entry.name, entry.kind, entry.num_frames) == ("shots", "frames", 6)
    assert frame_rate(entry, 12.5) == 12.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.write_bytes(b""), "not a video that can be opened"),
        (lambda path: path.write_bytes(b"\0" * 5000), "not a video that can be opened"),
        (lambda path: write_video(path, 0), "no frame can be read|not a video"),
        (lambda path: path.mkdir(), "no video in it"),
    ],
)
def test_unreadable_sources_say_what_is_wrong(tmp_path, make, message):
    path = tmp_path / "x.avi"
    make(path)
    with pytest.raises(UserError, match=message):
        find_entries(str(path))


def test_a_video_without_a_picture_is_refused(tmp_path):
    sound = (
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
    )
    (tmp_path / "sound.wav").write_bytes(sound)
    with pytest.raises(UserError, match="not a video that can be opened"):
        find_entries(str(tmp_path / "sound.wav"))


def test_cameras_and_streams_are_told_from_paths(tmp_path):
    assert is_stream("0") and is_stream("rtsp://10.0.0.7/live") and is_stream("http://x/y.mjpg")
    assert not is_stream("street.mp4") and not is_stream("a/0") and not is_stream("C:/x.avi")
    assert source_name("2") == "camera2" and source_name("a/street.mp4") == "street"
    name = source_name("rtsp://user:secret@10.0.0.7:554/live?channel=1")
    assert "secret" not in name and name == "10.0.0.7_554_live_channel_1"
    with pytest.raises(UserError, match="add --live"):
        find_entries("rtsp://10.0.0.7/live")


def test_a_camera_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="99: cannot be opened"):
        open_live("99", None, 25.0, 2.0, 300.0)
    with pytest.raises(UserError, match="cannot be opened"):
        open_live("http://127.0.0.1:9/none.mjpg", None, 25.0, 2.0, 300.0)
    write_video(tmp_path / "a.avi"), write_video(tmp_path / "b.avi")
    with pytest.raises(UserError, match="holds 2 videos"):
        open_live(str(tmp_path), None, 25.0, 2.0, 300.0)


def test_frames_come_in_order_and_none_is_lost_in_time():
    frames = FrameBuffer(lambda: FakeCamera(range(30)), "fake", max_delay=math.inf)
    taken = take_all(frames)
    assert numbers(taken) == list(range(30)) == [live.index for live in taken]
    assert frames.dropped == frames.reconnected == 0 and not any(live.gap for live in taken)


def test_what_waits_too_long_is_dropped_at_once_and_counted(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(frame_buffer.time, "monotonic", lambda: now[0])
    camera = GatedCamera()
    frames = FrameBuffer(lambda: camera, "fake", max_delay=2.0)
    camera.show(0, 1, 2)
    wait_until(lambda: frames.captured == 3)
    assert numbers(frames.take(1, 1.0)) == [0]
    now[0] += 1.9
    camera.show(3)
    wait_until(lambda: frames.captured == 4)
    assert frames.dropped == 0
    now[0] += 0.2  # frames 1 and 2 have waited for 2.1 s
    camera.show(4, 5)
    wait_until(lambda: frames.captured == 6)
    taken = frames.take(8, 1.0)
    # What is left are true neighbours: that is the point of dropping in runs.
    assert numbers(taken) == [4, 5] == [live.index for live in taken]
    assert [live.gap for live in taken] == ["dropped", ""] and frames.dropped == 3
    camera.show(6)
    wait_until(lambda: frames.captured == 7)
    now[0] += 2.1  # late, though none came after it
    assert frames.take(8, 0.01) == [] and frames.dropped == 4
    camera.show(None)
    assert frames.take(8, 1.0) is None


def test_waiting_frames_are_bounded_when_nothing_may_be_dropped(monkeypatch):
    monkeypatch.setattr(frame_buffer, "_MOST_BYTES", 10 * 8 * 8 * 3)
    camera = FakeCamera(range(60))
    frames = FrameBuffer(lambda: camera, "fake", max_delay=math.inf)
    wait_until(lambda: len(camera.script) == 49)  # ten wait, the eleventh is in the reader's hand
    assert frames.captured == 10
    assert numbers(take_all(frames)) == list(range(60))


def test_waiting_frames_are_bounded_whatever_the_delay(monkeypatch):
    monkeypatch.setattr(frame_buffer, "_MOST_BYTES", 10 * 8 * 8 * 3)
    camera = FakeCamera(range(60))
    frames = FrameBuffer(lambda: camera, "fake", max_delay=1e6)
    wait_until(lambda: frames.captured == 60)
    taken = take_all(frames)
    assert len(taken) <= 10 and frames.dropped == 60 - len(taken)


def test_a_broken_stream_is_reconnected(quick):
    cameras = [BreakingCamera([0, 1, None]), None, None, FakeCamera([2, 3])]
    frames = FrameBuffer(lambda: cameras.pop(0), "fake", max_delay=math.inf)
    taken = take_all(frames)
    assert numbers(taken) == [0, 1, 2, 3] and frames.reconnected == 1
    assert [live.gap for live in taken] == ["", "", "reconnected", ""]


def test_a_reconnection_among_dropped_frames_is_not_forgotten(quick, monkeypatch):
    monkeypatch.setattr(frame_buffer, "_MOST_BYTES", 8 * 8 * 8 * 3)
    cameras = [BreakingCamera([0, None]), FakeCamera(range(1, 20))]
    frames = FrameBuffer(lambda: cameras.pop(0), "fake", max_delay=1e6)
    wait_until(lambda: frames.captured == 20)
    assert frames.dropped and frames.take(1, 1.0)[0].gap == "reconnected"


def test_a_camera_that_stays_away_ends_with_an_error_after_all_its_frames(quick):
    cameras = iter([BreakingCamera([5, 6, None])])
    frames = FrameBuffer(lambda: next(cameras, None), "street", 1e6, give_up_after=0.1)
    taken = []
    with pytest.raises(UserError, match="street: gone for 0 s, given up; all results so far"):
        while True:
            taken += frames.take(4, timeout=1.0)
    assert numbers(taken) == [5, 6]


def test_one_that_opens_but_never_shows_anything_is_given_up_too(quick):
    frames = FrameBuffer(lambda: BreakingCamera([None]), "dark", 1e6, give_up_after=0.1)
    with pytest.raises(UserError, match="dark: gone"):
        while frames.take(4, timeout=1.0) is not None:
            pass


def test_closing_stops_the_thread_while_it_reconnects(quick):
    before = set(threading.enumerate())
    cameras = iter([BreakingCamera([None])])
    frames = FrameBuffer(lambda: next(cameras, None), "fake", 1e6, give_up_after=100)
    (thread,) = set(threading.enumerate()) - before
    frames.close()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_video_is_played_at_its_own_speed(tmp_path):
    started = time.monotonic()
    frames = (TimedFrame(n / 50, each) for n, each in enumerate(moving_squares(10)))
    video = PacedVideo(frames)
    while video.read()[0]:
        pass
    assert time.monotonic() - started >= 9 / 50 - 0.01
    frames = open_live(str(write_video(tmp_path / "a.avi", 4, 50.0)), None, 25.0, 1e6, 1.0)
    assert frames.fps == pytest.approx(50.0) and len(take_all(frames)) == 4


def test_a_video_that_is_cut_short_is_scored_as_far_as_it_goes(tmp_path, caplog):
    path = write_video(tmp_path / "cut.avi", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    for source in (path, tmp_path):
        caplog.clear()
        (entry,) = find_entries(str(source))
        assert entry.name == "cut" and 10 < entry.num_frames < 50
        assert f"cut.avi: {entry.num_frames} of 60 frames can be read: used" in caplog.text


def test_the_folder_above_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "yard" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "yard" / "inner")
    assert source_name("..") == "yard" and source_name(".") == "inner"
