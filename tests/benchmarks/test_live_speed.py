"""The pieces of the benchmark of watching: its camera, its viewers, its stopwatch."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np

from benchmarks.live.camera import serve
from benchmarks.live.costs import Stopwatch
from benchmarks.live.scene import FPS, HEIGHT, ROUND, WIDTH, Street
from benchmarks.live.viewers import watch
from inference.live.capture import open_stream
from inference.live.server.serve import serving
from inference.live.server.state import LiveState, Status


def test_the_street_goes_round_with_six_walkers():
    street = Street(with_visitor=False)
    ground = Street(with_visitor=False)._ground
    frame = street.frame(7)
    assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
    changed = np.abs(frame.astype(int) - ground).max(axis=2) > 12
    assert 4 * 84 * 34 < changed.sum() <= 6.1 * 84 * 34
    quiet = street.frame(ROUND + 7).astype(int) - frame
    assert np.abs(quiet).max() < 30 or np.abs(quiet).mean() < 3  # noise alone is another
    visited = Street(with_visitor=True).frame(ROUND // 2 + 20)
    assert np.abs(visited.astype(int) - street.frame(ROUND // 2 + 20)).max() > 50


def test_the_camera_shows_its_frames_at_its_rate(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(frames=5) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stream = open_stream(f"http://127.0.0.1:{server.server_port}/")
        stream.read()
        began = time.monotonic()
        frames = [stream.read()[1] for _ in range(10)]
        assert time.monotonic() - began > 8 / FPS
        assert all(frame.shape == (HEIGHT, WIDTH, 3) for frame in frames)
        stream.release()
        server.shutdown()
        thread.join(timeout=30)


def test_viewers_count_what_they_are_sent(tmp_path):
    state = LiveState("yard")
    state.publish(Status("yard"), [])
    with serving(state, tmp_path, "127.0.0.1", 0, None) as address:
        over = threading.Event()

        def show():
            frame = 0
            while not over.wait(0.03):
                state.show(np.full((64, 96, 3), frame % 250, np.uint8), frame, time.time(), 0.0)
                frame += 1

        thread = threading.Thread(target=show)
        thread.start()
        seen = asyncio.run(watch(address, 3, 1.5))
        over.set()
        thread.join(timeout=30)
    assert seen["viewers"] == 3 and seen["errors"] == 0
    assert seen["pictures"] >= 2 and seen["answers"] >= 2 and seen["bytes"] > 1000


def test_a_part_inside_another_is_not_counted_twice():
    watch = Stopwatch()

    def work(seconds):
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    inner = watch.timed("inner", lambda: work(0.05))
    watch.timed("outer", lambda: (work(0.02), inner()))()
    assert 0.045 < watch.seconds["inner"] < 0.1 and 0.015 < watch.seconds["outer"] < 0.045
