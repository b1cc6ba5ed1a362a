"""Webhooks and commands: in order, again when it fails, never in the way."""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest

import infer
from inference.live import notify
from inference.live.notify import command, webhook
from utils.errors import UserError


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with the server's next code (200 when there is none) and keeps what it got."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.answers.pop(0) if self.server.answers else 200
        self.server.got.append((code, json.loads(body), dict(self.headers)))
        if code == "hang":
            self.server.released.wait(30)
            code = 200
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(notify, "_FIRST_PAUSE", 0.02)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.answers, server.got, server.released = [], [], threading.Event()
        server.address = f"127.0.0.1:{server.server_port}/alarms"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join(timeout=60)


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_records_arrive_in_order_as_json(receiver):
    outbox = webhook(f"http://{receiver.address}")
    for number in range(5):
        outbox.tell({"id": number, "event": "started"})
    outbox.close()
    assert [body["id"] for _, body, _ in receiver.got] == list(range(5))
    assert receiver.got[0][2]["Content-Type"] == "application/json"


def test_a_record_is_sent_again_until_it_is_taken(receiver, caplog):
    receiver.answers = [500, 503, 429]
    outbox = webhook(f"http://{receiver.address}")
    outbox.tell({"id": 1})
    outbox.tell({"id": 2})
    wait_for(lambda: len(receiver.got) == 5)
    outbox.close()
    assert [(code, body["id"]) for code, body, _ in receiver.got] == [
        (500, 1), (503, 1), (429, 1), (200, 1), (200, 2),
    ]  # fmt: skip
    assert caplog.text.count("trying again") == 1


@pytest.mark.parametrize("code", [404, 302])
def test_what_is_refused_for_good_is_told_and_left(receiver, caplog, code):
    receiver.answers = [code]
    outbox = webhook(f"http://{receiver.address}")
    outbox.tell({"id": 1})
    outbox.tell({"id": 2})
    outbox.close()
    assert [body["id"] for _, body, _ in receiver.got] == [1, 2]
    assert f"not delivered: answered {code}" in caplog.text


def test_a_server_that_hangs_or_is_down_delays_nobody(receiver, monkeypatch, caplog):
    monkeypatch.setattr(notify, "_LAST_SECONDS", 0.3)
    receiver.answers = ["hang"]
    outboxes = [webhook(f"http://{receiver.address}"), webhook("http://127.0.0.1:9/")]
    began = time.monotonic()
    for number in range(1000):
        for outbox in outboxes:
            outbox.tell({"id": number})
    assert time.monotonic() - began < 5
    for outbox in outboxes:
        outbox.close()
    assert time.monotonic() - began < 10
    assert "does not keep up" in caplog.text and "not delivered before the end" in caplog.text


def test_a_password_is_sent_and_not_shown(receiver, caplog):
    receiver.answers = [401]
    outbox = webhook(f"http://me:s%40cret@{receiver.address}?token=hidden")
    outbox.tell({"id": 1})
    outbox.close()
    assert receiver.got[0][2]["Authorization"] == "Basic bWU6c0BjcmV0"  # me:s@cret
    assert "answered 401" in caplog.text
    assert "cret" not in caplog.text and "hidden" not in caplog.text


@pytest.mark.parametrize(
    "address", ["ftp://me:secret@x/", "file:///etc/passwd", "x", "http://", "http://h:y/",
                "http://me:secret@a b/", "http://h/\r\nX: y", "http://\0/", "http://..", "http://[::1",
                "http://me:secret@" + "a" * 70, "http://h/" + "a" * 100_000, "http://h:0/"],
)  # fmt: skip
def test_other_addresses_are_refused(address):
    with pytest.raises(UserError, match="must be an address http") as refused:
        webhook(address)
    assert "secret" not in str(refused.value) and len(str(refused.value)) < 300


def test_addresses_that_look_odd_are_none_the_less_some():
    for address in ("http://me:a pass@☃.net:80/x", "https://[::1]:9/", "http://10.0.0.7/ü?a=b"):
        webhook(address).close()


def test_a_command_gets_the_record_and_runs_nothing_of_it(tmp_path):
    outbox = command(f'cat > {tmp_path}/$ALARM_ID.json; echo "$ALARM_VIDEO" > {tmp_path}/video')
    record = {"id": 7, "event": "started", "video": "$(touch hacked); x", "peak_score": 2.5}
    outbox.tell(record)
    outbox.close()
    assert json.loads((tmp_path / "7.json").read_text()) == record
    assert (tmp_path / "video").read_text() == "$(touch hacked); x\n"


def test_commands_that_fail_or_hang_are_told(monkeypatch, caplog):
    monkeypatch.setattr(notify, "_COMMAND_TIMEOUT", 0.2)
    for line, words in (("exit 3", "ended with code 3"), ("sleep 60", "without an end")):
        outbox = command(line)
        outbox.tell({"id": 1})
        outbox.close()
        assert words in caplog.text


def test_they_need_a_live_run(capsys):
    for option in ("--webhook", "--mqtt", "--on_alarm"):
        with pytest.raises(SystemExit) as stopped:
            infer.main(["--model", "x.pth", "--source", "y.mp4", option, "http://127.0.0.1/"])
        assert stopped.value.code == 2 and f"{option} tells" in capsys.readouterr().err
