"""The page at a real port, beside a run: in use, in the way of nobody, gone at the end."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

import infer
from inference.live.server.serve import is_loopback, serving
from inference.live.server.state import LiveState
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError


def picture(level=100):
    return np.full((64, 96, 3), level, np.uint8)


def fetch(address, path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address + path, timeout=30) as answer:
        return answer.read()


def test_pictures_come_as_they_are_shown_and_slow_viewers_hold_nobody_up(tmp_path):
    state = LiveState("yard")
    with serving(state, tmp_path, "127.0.0.1", 0, None) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        stalled = socket.create_connection(("127.0.0.1", port))
        stalled.sendall(b"GET /picture.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")  # never reads
        viewer = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        viewer.request("GET", "/picture.mjpg")
        answer = viewer.getresponse()
        noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3)).astype(np.uint8)
        longest = 0.0
        for frame in range(40):
            began = time.monotonic()
            state.show(noise if frame % 2 else picture(), frame, time.time(), 0.0)
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.02)
        found = 0
        while found < 3:
            line = answer.readline()
            assert line
            found += line.startswith(b"--picture")
        assert longest < 0.5 and b"yard" in fetch(address, "status")
        stalled.close()
        viewer.close()
    with pytest.raises(urllib.error.URLError):
        fetch(address, "status")


def test_a_port_in_use_or_a_foreign_host_is_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        in_use = pytest.raises(UserError, match=rf"--serve {port} on 127.0.0.1: Address already in")
        with in_use, serving(LiveState("yard"), tmp_path, "127.0.0.1", port, None):
            pass
    for host in ("192.0.2.1", "no.such.host.invalid"):
        foreign = pytest.raises(UserError, match=f"--serve 0 on {host}: .*; choose another port")
        with foreign, serving(LiveState("yard"), tmp_path, host, 0, None):
            pass


def test_what_others_reach_has_a_token(tmp_path):
    with serving(LiveState("yard"), tmp_path, "0.0.0.0", 0, None) as address:
        port, token = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{20,})", address).groups()
        for wrong in ("", "?token=wrong"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                fetch(f"http://127.0.0.1:{port}/status", wrong)
        assert fetch(f"http://127.0.0.1:{port}/status", f"?token={token}")
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("10.0.0.7") and not is_loopback("::")


def test_a_run_is_seen_while_it_goes(tmp_path, capsys, monkeypatch):
    model = write_checkpoint(tmp_path / "run" / "last.pth")
    clip, output = write_video(tmp_path / "clip.avi", 40, fps=20.0), tmp_path / "out"
    seen = {}

    def look():
        for _ in range(600):
            time.sleep(0.05)
            address = re.search(r"page: (\S+)", "".join(said))
            try:
                status = address and fetch(address[1], "status")
                if status and b'"frame":null' not in status:
                    seen["picture"] = fetch(address[1], "picture.jpg")
                    seen["metrics"] = fetch(address[1], "metrics")
                    return
            except OSError:
                continue

    said = []
    monkeypatch.setattr("inference.command_line.echo", said.append)
    viewer = threading.Thread(target=look)
    viewer.start()
    infer.main(["--model", str(model), "--source", str(clip), "--live", "--no_video", "--max_delay",
                "inf", "--threshold", "0", "--serve", "0", "--output", str(output)])  # fmt: skip
    viewer.join(60)
    assert seen["picture"].startswith(b"\xff\xd8") and b"vad_threshold" in seen["metrics"]
    assert "40 frames scored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serve", "8000"], "add --live"),
        (["--live", "--serve", "70000"], "ports go up to 65535"),
        (["--live", "--serve", "0", "--token", "a b"], "at least 8 letters"),
    ],
)
def test_options_that_mean_nothing_are_refused(capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        infer.main(["--model", "x.pth", "--source", "y.mp4", *options])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
