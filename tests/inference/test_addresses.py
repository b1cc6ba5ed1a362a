"""Recordings and streams at an address: the one is played once, the other reconnected for ever."""

from __future__ import annotations

import functools
import http.server
import math
import threading

import cv2
import numpy as np
import pytest

import infer
from inference.live import frame_buffer
from inference.live.capture import open_live
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError
from utils.files import read_json

PICTURES = 5  # that a connection of the stream shows before it breaks off


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder and, at ``/stream``, motion JPEG that breaks off."""

    def do_GET(self):
        if self.path.partition("?")[0] not in ("/stream", "/damaged"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for level in range(PICTURES):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), 40 * level, np.uint8))[1].tobytes()
            if self.path == "/damaged" and level == 2:
                data = bytes(len(data))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Where ``tmp_path`` is served."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(frame_buffer, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(frame_buffer, "_LONGEST_PAUSE", 0.02)
    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(timeout=60)


def test_a_recording_is_played_once_and_at_its_own_speed(tmp_path, address):
    write_video(tmp_path / "clip.avi", 30, fps=50.0)
    frames = open_live(f"{address}/clip.avi", None, 25.0, math.inf, 300.0)
    taken = []
    while (batch := frames.take(4, timeout=1.0)) is not None:
        taken += batch
        assert len(taken) <= 30  # it does not begin again
    assert [live.index for live in taken] == list(range(30)) and frames.fps == pytest.approx(50.0)
    assert frames.reconnected == 0 and not any(live.gap for live in taken)
    assert taken[-1].arrived - taken[0].arrived > 0.5 * 29 / 50  # unpaced it takes no time


def test_a_recording_that_breaks_off_is_told_after_all_its_frames(tmp_path, address):
    whole = write_video(tmp_path / "whole.avi", 40, fps=1000.0).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    frames = open_live(f"{address}/cut.avi", None, 25.0, math.inf, 300.0)
    taken = []
    with pytest.raises(UserError, match=r"cut\.avi: broke off after \d+ of 40 frames; all results"):
        while (batch := frames.take(4, timeout=1.0)) is not None:
            taken += batch
    assert 5 < len(taken) < 30


def test_a_stream_without_end_is_reconnected(address):
    frames = open_live(f"{address}/stream", None, 25.0, math.inf, 300.0)
    taken = []
    while len(taken) < 3 * PICTURES:
        batch = frames.take(4, timeout=30.0)
        assert batch  # neither over nor silent
        taken += batch
    frames.close()
    assert frames.reconnected >= 2 and {live.gap for live in taken} == {"", "reconnected"}


def test_a_damaged_picture_costs_itself_and_not_the_connection(address):
    frames = open_live(f"{address}/damaged", None, 25.0, math.inf, 300.0)
    taken = []
    while len(taken) < PICTURES - 1:
        batch = frames.take(1, timeout=30.0)
        assert batch
        taken += batch
    frames.close()
    levels = [round(live.frame.mean() / 40) for live in taken]
    assert levels == [0, 1, 3, 4] and not any(live.gap for live in taken)


SECRETS = ("s3cret", "h1dden")


def secret(address):
    """The same with a user, a password and a token in it."""
    return address.replace("://", "://me:s3cret@") + "?token=h1dden&pwd=s3cret"


def test_passwords_of_an_address_are_nowhere(tmp_path, address, capsys, caplog):
    """Not on the screen, not in a file's name, not in a file."""
    write_video(tmp_path / "clip.avi", 20, fps=100.0)
    model, output = write_checkpoint(tmp_path / "run" / "last.pth"), tmp_path / "run" / "live"
    infer.main(["--model", str(model), "--source", secret(f"{address}/clip.avi"), "--live",
                "--max_delay", "inf", "--threshold", "0"])  # fmt: skip
    said = capsys.readouterr()
    written = [path for path in output.rglob("*") if path.is_file()]
    assert {"report.html", "alarms.jsonl", "frame_scores.csv"} <= {path.name for path in written}
    everything = [said.out, said.err, caplog.text, *map(str, written)]
    everything += [path.read_bytes().decode("latin-1") for path in written]
    assert not [text for text in everything for word in SECRETS if word in text]


@pytest.mark.parametrize("port", [1, None])
def test_passwords_are_in_no_error_and_no_reconnect_line(tmp_path, address, capsys, caplog, port):
    model = write_checkpoint(tmp_path / "run" / "last.pth")
    if port:  # nobody is there
        address, options = "http://127.0.0.1:1/stream", ["--live"]
    else:
        options = ["--live", "--give_up_after", "0.05", "--threshold", "0"]
        (tmp_path / "cut.avi").write_bytes(
            write_video(tmp_path / "whole.avi", 40, fps=1000.0).read_bytes()[:9000]
        )
        address = f"{address}/cut.avi"
    with pytest.raises(SystemExit) as stopped:
        infer.main(["--model", str(model), "--source", secret(address), *options])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    with pytest.raises(SystemExit):
        infer.main(["--model", str(model), "--source", secret(address)])
    said_too = capsys.readouterr()
    text = said.out + said.err + said_too.out + said_too.err + caplog.text
    assert "error: http://***@127.0.0.1" in said.err and "add --live" in said_too.err
    assert not [word for word in SECRETS if word in text]


def test_a_broken_stream_is_reconnected_without_its_password(address, caplog):
    with caplog.at_level("WARNING"):
        frames = open_live(secret(f"{address}/stream").replace("?", "?x="), None, 25, math.inf, 9)
        while frames.reconnected < 1:
            frames.take(4, timeout=30.0)
        frames.close()
    assert "no picture; reconnecting" in caplog.text
    assert not [word for word in SECRETS if word in caplog.text]


def test_infer_ends_with_the_recording(tmp_path, address, capsys):
    write_video(tmp_path / "clip.avi", 20, fps=100.0)
    model, output = write_checkpoint(tmp_path / "run" / "last.pth"), tmp_path / "out"
    infer.main(["--model", str(model), "--source", f"{address}/clip.avi", "--live", "--no_video",
                "--max_delay", "inf", "--threshold", "0", "--output", str(output)])  # fmt: skip
    assert "20 frames scored" in capsys.readouterr().out
    assert read_json(output / "alarms.json")["seen"]["frames"] == 16
    assert "20 came, 20 scored, 0 dropped" in (output / "report.html").read_text()
