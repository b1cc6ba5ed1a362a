"""The page of a live run: what it shows, to whom, and nothing else of the machine."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from inference.live.server.app import build_app
from inference.live.server.state import LiveState, Status

TOKEN = "a-token-of-some-length"
NAME = '<script>alert("yard")</script>'
ALARMS = [{"id": 1, "event": "ended", "clip": "clips/alarm-000001.mp4"}]


@pytest.fixture
def state():
    state = LiveState(NAME)
    state.publish(
        Status(NAME, threshold=2.5, captured=120, scored=100, dropped=20, gaps=3, alarms=1,
               fps=24.5, latency_p50_ms=30.0, latency_p99_ms=90.0, in_alarm=True),
        ALARMS,
    )  # fmt: skip
    for frame in range(5):
        state.show(np.full((64, 96, 3), 50 * frame, np.uint8), frame, 1000 + frame / 2, frame / 10)
    return state


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "alarm-000001.mp4").write_bytes(b"0123456789")
    (tmp_path / "clips" / ".alarm-000002.part.mp4").write_bytes(b"half")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "clips" / "alarm-000003.mp4").symlink_to(tmp_path / "secret.mp4")
    return tmp_path


@pytest.fixture
def client(state, folder):
    return TestClient(build_app(state, folder, None), "http://127.0.0.1:8000")


def test_the_page_needs_nothing_from_elsewhere_and_escapes_all(client):
    answer = client.get("/")
    assert answer.status_code == 200 and NAME not in answer.text
    assert "&lt;script&gt;alert" in answer.text
    links = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)\)|@import""", answer.text)
    assert [link for link, _ in links] == ["picture.mjpg"] and "http" not in re.sub(
        r'"http://www.w3.org/2000/svg"', "", answer.text
    )
    assert "innerHTML" not in answer.text and not re.search(r"\bon\w+=", answer.text)
    assert not re.search(r"""\sstyle=["']""", answer.text)  # the policy would forbid it
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall('nonce="(.*?)"', answer.text))
    assert policy.startswith("default-src 'none'") and f"'nonce-{nonce}'" in policy
    assert client.get("/").headers["content-security-policy"] != policy  # a new nonce


def test_numbers_alarms_and_the_newest_picture(client, state):
    told = client.get("/status").json()
    assert told["name"] == NAME and told["threshold"] == 2.5
    assert (told["captured"], told["scored"], told["dropped"]) == (120, 100, 20)
    assert (told["frame"], told["clock"], told["score"]) == (4, 1002.0, 0.4)
    assert told["curve"] == [[1000.0, 0.1], [1001.0, 0.3], [1002.0, 0.4]]
    assert client.get("/alarms").json() == {"camera": NAME, "alarms": ALARMS}
    answer = client.get("/picture.jpg")
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert answer.headers["content-type"] == "image/jpeg" and abs(picture.mean() - 200) < 3
    state.show(np.zeros((1080, 1920, 3), np.uint8), 5, 1003.0, None)
    content = client.get("/picture.jpg").content
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (540, 960, 3)


def test_before_the_first_frame_there_is_a_page_without_a_picture(folder):
    client = TestClient(build_app(LiveState("yard"), folder, None), "http://localhost")
    assert client.get("/").status_code == 200 and client.get("/picture.jpg").status_code == 503
    assert client.get("/status").json()["frame"] is None and b"vad_score" not in client.get(
        "/metrics"
    ).content.replace(b"vad_scored", b"")


def test_a_picture_is_encoded_once_for_all(state):
    first = state.newest()
    assert state.newest() is first and state.newest(first.number) is None
    state.show(np.zeros((64, 96, 3), np.uint8), 5, 1.0, None)
    assert state.newest(first.number).number == first.number + 1


def test_pictures_follow_each_other_until_the_run_is_over(client, state):
    state.is_over = True  # the test's client waits for the end of an answer
    with client.stream("GET", "/picture.mjpg") as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=picture"
        assert answer.read() == b""


def test_metrics_are_those_of_prometheus(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {
        (sample.name, sample.labels.get("quantile")): (sample.value, sample.labels["camera"])
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    for name, value in {
        "vad_frames_captured_total": 120, "vad_frames_scored_total": 100, "vad_alarms_total": 1,
        "vad_frames_dropped_total": 20, "vad_reconnections_total": 0, "vad_alarm_running": 1,
        "vad_gaps_total": 3,
        "vad_frames_per_second": 24.5, "vad_threshold": 2.5, "vad_score": 0.4,
        "vad_latest_frame_timestamp_seconds": 1002.0,
    }.items():  # fmt: skip
        assert found[name, None] == (value, NAME)
    assert found["vad_latency_seconds", "0.5"][0] == pytest.approx(0.03)
    assert found["vad_latency_seconds", "0.99"][0] == pytest.approx(0.09)


def test_clips_are_served_in_parts_and_nothing_else_is(client):
    answer = client.get("/clips/alarm-000001.mp4")
    assert answer.content == b"0123456789" and answer.headers["content-type"] == "video/mp4"
    part = client.get("/clips/alarm-000001.mp4", headers={"Range": "bytes=2-4"})
    assert part.status_code == 206 and part.content == b"234"
    for name in (
        "alarm-000009.mp4", ".alarm-000002.part.mp4", "alarm-000003.mp4", "..%2fsecret.mp4",
        "%2e%2e/secret.mp4", "../secret.mp4", "..%5csecret.mp4", "%2fetc%2fpasswd", "", ".",
        "alarm-000001.mp4%00", "alarm-000001.mp4/",
        "alarm-\u0661\u0661\u0661\u0661\u0661\u0661.mp4",
    ):  # fmt: skip
        assert client.get(f"/clips/{name}").status_code == 404, name
    for path in ("/secret.mp4", "/docs", "/openapi.json", "/alarms.jsonl"):
        assert client.get(path).status_code == 404
    assert client.post("/status").status_code == 405


def test_every_request_needs_the_token_where_there_is_one(state, folder):
    client = TestClient(build_app(state, folder, TOKEN), "http://camera.example:8000")
    paths = ("/", "/status", "/alarms", "/metrics", "/picture.jpg", "/clips/alarm-000001.mp4")
    for path in (*paths, "/picture.mjpg"):
        for wrong in ({}, {"token": ""}, {"token": TOKEN + "x"}, {"token": "\u00e9"}):
            answer = client.get(path, params=wrong)
            assert answer.status_code == 401 and "token is missing or wrong" in answer.text
    for path in paths:
        bearer = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert bearer.status_code == 200
    welcome = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert welcome.status_code == 303 and TOKEN not in welcome.headers["location"]
    assert "HttpOnly" in welcome.headers["set-cookie"]
    assert [client.get(path).status_code for path in paths] == [200] * len(paths)  # the cookie


def test_other_names_for_this_machine_are_refused(state, folder):
    app = build_app(state, folder, None)
    assert TestClient(app, "http://evil.example:8000").get("/status").status_code == 400
    assert TestClient(app, "http://localhost:8000").get("/status").status_code == 200
