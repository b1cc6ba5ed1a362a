"""Live runs whose surroundings fail: clear messages, and nothing lost that was scored."""

from __future__ import annotations

import csv
import errno
import json
import socket

import cv2
import pytest

import infer
from inference.live import notify
from inference.live.files import AppendedTable
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from tests.robustness.test_full_disk import longest_file
from utils.files import read_json
from visualization.video_writer import VideoWriter

FRAMES = 40


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A live run of a short video, in which every frame is in alarm."""
    folder = tmp_path_factory.mktemp("live")
    model = write_checkpoint(folder / "run" / "last.pth")
    clip = write_video(folder / "clip.avi", FRAMES, fps=200.0)
    return ["--model", str(model), "--source", str(clip), "--live", "--max_delay", "inf",
            "--threshold", "-99", "--set", "alarms.min_seconds=0", "--output"]  # fmt: skip


def table(path):
    content = path.read_text(encoding="utf-8")
    assert content.endswith("\n")
    return list(csv.DictReader(content.splitlines()))


def events(folder):
    lines = (folder / "alarms.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_a_port_in_use_ends_before_anything_is_written(command, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(SystemExit) as stopped:
            infer.main([*command, str(tmp_path / "out"), "--serve", port])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and f"--serve {port} on 127.0.0.1: Address already in" in said
    assert "choose another port" in said and not (tmp_path / "out").exists()


def test_a_webhook_that_is_down_costs_its_messages_only(command, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(notify, "_LAST_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]  # free again, and nobody listens, when this is closed
    infer.main([*command, str(tmp_path / "out"), "--webhook", f"http://user:pw@127.0.0.1:{port}/"])
    assert "no answer" in caplog.text and "trying again" in caplog.text and "pw" not in caplog.text
    assert "messages of alarms were not delivered" in caplog.text
    assert events(tmp_path / "out") == ["started", "ended"]
    assert len(table(tmp_path / "out" / "frame_scores.csv")) == FRAMES - 4


def test_a_disk_without_room_for_the_video_does_not_end_the_watching(
    command, tmp_path, caplog, monkeypatch
):
    encode = VideoWriter._encode

    def encode_until_full(self, frame):
        if self._written == 20:
            self._refuse(OSError(errno.ENOSPC, "No space left on device"))
        encode(self, frame)

    monkeypatch.setattr(VideoWriter, "_encode", encode_until_full)
    out = tmp_path / "out"
    infer.main([*command, str(out), "--set", "alarms.clips=false"])
    assert "annotated.mp4: its 20 pictures were not written whole (No space" in caplog.text
    assert "free some space" in caplog.text and caplog.text.count("Scoring goes on") == 1
    assert len(table(out / "frame_scores.csv")) == FRAMES - 4 and table(out / "cube_scores.csv")
    assert events(out) == ["started", "ended"] and (out / "report.html").exists()
    assert (out / "annotated.mp4").exists() and not list(out.glob(".*part*"))


def test_a_disk_without_room_for_the_scores_ends_it_with_all_before(
    command, tmp_path, capsys, monkeypatch
):
    append = AppendedTable._append

    def append_until_full(self, data):
        if self.path.name == "frame_scores.csv" and self._size > 1000:
            append(self, data[:9])  # a full disk takes a part first
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, data)

    monkeypatch.setattr(AppendedTable, "_append", append_until_full)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        infer.main([*command, str(out)])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert f"{out / 'frame_scores.csv'}: No space left on device; free some" in said
    rows = table(out / "frame_scores.csv")
    assert 5 < len(rows) < FRAMES - 4 and all(row["time"] for row in rows)
    assert events(out) == ["started", "ended"] and read_json(out / "alarms.json")["alarms"]
    assert "1 alarm in" in (out / "report.html").read_text()
    assert cv2.VideoCapture(str(out / "annotated.mp4")).grab()


def test_a_table_takes_rows_whole_or_not_at_all(tmp_path):
    rows = AppendedTable(tmp_path / "a.csv", ["frame", "score"])
    rows.rows([(1, 0.5)])
    size = (tmp_path / "a.csv").stat().st_size
    with longest_file(size + 5), pytest.raises(OSError, match=r"a\.csv"):
        rows.rows([(2, 0.25), (3, 0.125)])
    rows.rows([(4, 1.0)])  # there is room again
    rows.close()
    assert (tmp_path / "a.csv").read_text() == "frame,score\n1,0.5\n4,1.0\n"
