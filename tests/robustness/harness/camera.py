"""A camera behind HTTP that misbehaves: motion JPEG with garbage, silence, other sizes, breaks."""

from __future__ import annotations

import http.server
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from tests.helpers.tiny_videos import moving_squares

FPS = 25.0
_BOUNDARY = b"--frame\r\n"
_SIZES = ((48, 36), (97, 65), (320, 240), (1920, 1080), (3000, 40), (2, 2), (1, 1))  # width, height
_CALM = (1.0, 6.0)  # seconds of good pictures between two faults


class BadCamera:
    """Faults in a random order between seconds of good pictures, for every viewer anew.

    Args:
        seed: of the order.
        faults: names of those to choose from; empty: all.

    Attributes:
        sent: good pictures, and each kind of fault.
        last: when the last good picture was sent, ``time.monotonic()``.
    """

    def __init__(self, seed: int, faults: Sequence[str] = ()) -> None:
        self.sent: Counter[str] = Counter()
        self.last = 0.0
        self._chance = random.Random(seed)
        self._scene = [_jpeg(each) for each in moving_squares(250)]
        self._large = _jpeg(np.zeros((9000, 9000, 3), np.uint8))
        self._shown = 0
        self._faults: dict[str, Callable[[Any], None]] = {
            "garbage between pictures": self._garbage,
            "garbage as a picture": self._no_picture,
            "damaged pictures": self._damaged,
            "cut pictures": self._cut,
            "frozen": self._frozen,
            "another size": self._resized,
            "81 million pixels": self._huge,
            "silence": self._silence,
            "silence until it is given up": self._long_silence,
            "a burst": self._burst,
            "head without an end": self._endless_head,
            "wrong length": self._wrong_length,
            "broken off": self._break_off,
            "broken off in a picture": self._break_in_a_picture,
        }
        self._names = sorted(faults or self._faults)

    def watch(self, write: Callable[[bytes], Any]) -> None:
        """Send until the viewer leaves or a fault ends it (``ConnectionError``)."""
        while True:
            self._good(self._chance.uniform(*_CALM), write)
            name = self._chance.choice(self._names)
            self.sent[name] += 1
            self._faults[name](write)

    def refuses(self) -> bool:
        """Whether this time it answers that it is busy."""
        is_busy = self._chance.random() < 0.2
        self.sent["busy (HTTP 503)"] += is_busy
        return is_busy

    def _good(self, seconds: float, write: Callable[[bytes], Any], pause: float = 1 / FPS) -> None:
        for _ in range(round(seconds * FPS)):
            write(_part(self._picture()))
            self.sent["good pictures"] += 1
            self.last = time.monotonic()
            time.sleep(pause)

    def _picture(self) -> bytes:
        self._shown += 1
        return self._scene[self._shown % len(self._scene)]

    def _garbage(self, write: Callable[[bytes], Any]) -> None:
        write(self._chance.randbytes(self._chance.randint(1, 1 << 16)))

    def _no_picture(self, write: Callable[[bytes], Any]) -> None:
        for _ in range(10):
            write(_part(self._chance.randbytes(self._chance.randint(1, 5000))))

    def _damaged(self, write: Callable[[bytes], Any]) -> None:
        for _ in range(25):
            data = bytearray(self._picture())
            for _ in range(self._chance.randint(1, 20)):
                data[self._chance.randrange(len(data))] = self._chance.randrange(256)
            write(_part(bytes(data)))
            time.sleep(1 / FPS)

    def _cut(self, write: Callable[[bytes], Any]) -> None:
        for _ in range(10):
            data = self._picture()
            write(_part(data[: self._chance.randrange(len(data))]))
            time.sleep(1 / FPS)

    def _frozen(self, write: Callable[[bytes], Any]) -> None:
        data = self._picture()
        for _ in range(round(self._chance.uniform(2, 10) * FPS)):
            write(_part(data))
            time.sleep(1 / FPS)

    def _resized(self, write: Callable[[bytes], Any]) -> None:
        size = self._chance.choice(_SIZES)
        for picture in moving_squares(round(self._chance.uniform(0.2, 3) * FPS)):
            write(_part(_jpeg(cv2.resize(picture, size))))
            time.sleep(1 / FPS)

    def _huge(self, write: Callable[[bytes], Any]) -> None:
        write(_part(self._large))

    def _silence(self, _: Callable[[bytes], Any]) -> None:
        time.sleep(self._chance.uniform(1, 8))

    def _long_silence(self, _: Callable[[bytes], Any]) -> None:
        time.sleep(12)  # FFmpeg's time-out is ten seconds here

    def _burst(self, write: Callable[[bytes], Any]) -> None:
        self._good(8, write, pause=0)

    def _endless_head(self, write: Callable[[bytes], Any]) -> None:
        write(_BOUNDARY + b"X-Name: value\r\n" * 5000)

    def _wrong_length(self, write: Callable[[bytes], Any]) -> None:
        for length in (0, 10, 10**6, 10**30, -5):
            write(_part(self._picture(), length))

    def _break_off(self, _: Callable[[bytes], Any]) -> None:
        raise ConnectionError

    def _break_in_a_picture(self, write: Callable[[bytes], Any]) -> None:
        write(_part(self._picture())[:-100])
        raise ConnectionError


class Server(http.server.ThreadingHTTPServer):
    """Serves a camera at any path of this machine, in threads."""

    daemon_threads = True

    def __init__(self, camera: BadCamera) -> None:
        self.camera = camera
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Of the stream."""
        return f"http://127.0.0.1:{self.server_port}/stream"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        camera = self.server.camera
        if camera.sent["good pictures"] and camera.refuses():
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            camera.watch(self.wfile.write)
        except OSError:  # a viewer that left, or a fault
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _part(data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    head = f"Content-Type: image/jpeg\r\nContent-Length: {size}\r\n\r\n"
    return _BOUNDARY + head.encode() + data + b"\r\n"
