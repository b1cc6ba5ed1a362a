"""Alarms at an MQTT broker: confirmed, again when it fails, never in the way, passwords unseen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time

import pytest

from inference.live import mqtt as module
from inference.live import notify
from inference.live.mqtt import mqtt
from utils.errors import UserError

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
PASSWORD = "s3cr@t"


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def broker(port, users_file=None):
    """A broker on loopback; with a file of users it lets no other in."""
    amqtt = pytest.importorskip("amqtt.broker", reason="amqtt is not installed")
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    if users_file:
        plugins = {
            "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(users_file)}
        }
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": plugins,
    }
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def make():
        return amqtt.Broker(settings)

    server = run(make())
    run(server.start())
    try:
        yield
    finally:
        run(server.shutdown())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


@contextlib.contextmanager
def subscribed(port, topic):
    """What arrives at the broker under a topic."""
    got, ready = [], threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _d, message: got.append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(30)
    yield got
    client.disconnect()
    client.loop_stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(notify, "_FIRST_PAUSE", 0.05)


def test_records_arrive_in_order_as_json():
    port = free_port()
    with broker(port), subscribed(port, "yard/alarms") as got:
        outbox = mqtt(f"mqtt://127.0.0.1:{port}/yard/alarms")
        for number in range(4):
            outbox.tell({"id": number, "event": "started"})
        wait_for(lambda: len(got) == 4)
        outbox.close()
    assert [each["id"] for each in got] == [0, 1, 2, 3]


def test_a_broker_that_is_down_delays_nobody_and_gets_the_record_when_it_is_back(caplog):
    port = free_port()
    outbox = mqtt(f"mqtt://127.0.0.1:{port}/alarms")
    began = time.monotonic()
    outbox.tell({"id": 1})
    assert time.monotonic() - began < 1
    wait_for(lambda: "trying again" in caplog.text)
    with broker(port), subscribed(port, "alarms") as got:
        wait_for(lambda: got)
        outbox.close()
    assert got[0] == {"id": 1}


def test_a_server_that_says_nothing_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    monkeypatch.setattr(notify, "_LAST_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outbox = mqtt(f"mqtt://me:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/alarms")
        outbox.tell({"id": 1})
        wait_for(lambda: "trying again" in caplog.text)
        outbox.close()
    assert "no answer" in caplog.text and PASSWORD not in caplog.text
    assert "not delivered before the end" in caplog.text


def test_user_and_password_are_sent_and_not_shown(tmp_path, caplog):
    pytest.importorskip("amqtt", reason="amqtt is not installed")
    pwdlib = pytest.importorskip("pwdlib", reason="amqtt is not installed")
    users = tmp_path / "users"
    users.write_text(f"me:{pwdlib.PasswordHash.recommended().hash(PASSWORD)}\n")
    port, got = free_port(), []
    with broker(port, users):
        watcher = paho.Client(paho.CallbackAPIVersion.VERSION2)
        watcher.username_pw_set("me", PASSWORD)
        watcher.on_connect = lambda *_: watcher.subscribe("alarms", qos=1)
        watcher.on_message = lambda *args: got.append(args[-1].payload)
        watcher.connect("127.0.0.1", port)
        watcher.loop_start()
        wrong = mqtt(f"mqtt://me:other-{PASSWORD}@127.0.0.1:{port}/alarms")
        wrong.tell({"id": 1})
        wrong.close()
        right = mqtt(f"mqtt://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:{port}/alarms")
        right.tell({"id": 2})
        wait_for(lambda: got)
        right.close()
        watcher.disconnect()
        watcher.loop_stop()
    assert [json.loads(each)["id"] for each in got] == [2]
    assert "not delivered: the broker answered" in caplog.text
    assert PASSWORD not in caplog.text and "mqtt://***@127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    "address",
    ["http://me:secret@h/t", "mqtt://h", "mqtt://h/", "mqtt:///t", "mqtt://me:secret@h/a/+/b",
     "mqtt://h/a/#", "mqtt://h:y/t", "x", "mqtt://me:secret@../t", "mqtt://h/a%0Ab", "mqtt://a b/t",
     "mqtt://" + "a" * 100_000 + "/t"],
)  # fmt: skip
def test_other_addresses_are_refused(address):
    with pytest.raises(UserError, match="must be an address mqtt://HOST/TOPIC") as refused:
        mqtt(address)
    assert "secret" not in str(refused.value)


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(UserError, match="pip install 'paho-mqtt"):
        mqtt("mqtt://me:secret@h/t")
