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
from inference.fitting import Fitting
from inference.live import capture, frame_buffer
from inference.live.capture import open_live
from inference.sources import find_entries
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError
from utils.files import read_json

PICTURES = 5  # that a connection of the stream shows before it breaks off


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder and, at ``/stream``, motion JPEG that breaks off."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/busy":
            self.send_error(503)
            return
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
    assert levels == [0, 1, 3, 4]
    # A flow from the frame before it would be twice as long.
    assert [live.gap for live in taken] == ["", "", "dropped", ""] and frames.lost == 1


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


OTHERS = ("file", "udp", "tcp", "rtp", "srt", "rtmp", "ftp", "concat", "subfile", "data", "pipe",
          "unix", "gopher", "crypto+http", "cache", "async", "hls+http", "tls", "x")  # fmt: skip


@pytest.mark.parametrize("scheme", OTHERS)
def test_other_protocols_are_not_opened(tmp_path, monkeypatch, scheme):
    monkeypatch.setattr(capture.av, "open", lambda *_, **__: pytest.fail("opened"))
    clip = write_video(tmp_path / "clip.avi")
    for address in (f"{scheme}://{clip}", f"{scheme.upper()}://10.0.0.7/live"):
        with pytest.raises(UserError, match="is not opened; give an address of rtsp, rtsps, http"):
            open_live(address, None, 25.0, 2.0, 300.0)
        with pytest.raises(UserError, match="is not opened"):
            find_entries(address)


@pytest.mark.parametrize("address", ["rtsp://h/x", "RTSPS://h/X", "http://h/x", "https://h/x"])
def test_addresses_of_cameras_are_opened(monkeypatch, address):
    opened = []

    def refuse(source, **options):
        opened.append((source, options))
        raise capture.av.error.HTTPNotFoundError(404, "not found")

    monkeypatch.setattr(capture.av, "open", refuse)
    with pytest.raises(UserError, match="cannot be opened"):
        open_live(address, None, 25.0, 2.0, 300.0)
    ((source, options),) = opened
    scheme, _, rest = address.partition("://")
    assert source == f"{scheme.lower()}://{rest}"
    assert "file" not in options["options"]["protocol_whitelist"].split(",")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{clip}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {clip}\n",
        "ffconcat version 1.0\nfile file:{clip}\n",
    ],
)
def test_an_address_leads_to_no_local_file(tmp_path, address, text):
    """Neither through a playlist, nor through a script that names files, nor a redirection."""
    clip = tmp_path / "clip.ts"
    with capture.av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in np.zeros((12, 48, 64, 3), np.uint8):
            container.mux(stream.encode(capture.av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    (tmp_path / "list.m3u8").write_text(text.format(clip=clip))
    for each in (f"{address}/list.m3u8", f"{address}/to/file:{clip}", f"{address}/to/{clip}"):
        stream = capture.open_stream(each)
        assert stream is None or stream.read() == (False, None), each


def test_a_server_that_is_busy_is_no_crash(address):
    assert capture.open_stream(f"{address}/busy") is None


class Pictures:
    """A camera that shows pictures of these shapes, then ends."""

    has_end, seconds = True, math.nan

    def __init__(self, *shapes):
        self._shapes = list(shapes)

    def read(self):
        if not self._shapes:
            return False, None
        return True, np.zeros((*self._shapes.pop(0), 3), np.uint8)

    def release(self):
        pass


def test_pictures_that_can_be_none_are_left_out():
    shapes = [(48, 64), (1, 1), (2, 2000), (15, 64), (3000, 40), (48, 64)]
    frames = capture._buffer(lambda: Pictures(*shapes), "x", math.inf, 1.0, 25.0, Fitting())
    taken = []
    while (batch := frames.take(4, timeout=5.0)) is not None:
        taken += batch
    assert [live.frame.shape[:2] for live in taken] == [(48, 64), (48, 64)]
