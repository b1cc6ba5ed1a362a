"""A camera in a process of its own: motion JPEG over HTTP, at its rate whatever is read of it."""

from __future__ import annotations

import argparse
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from benchmarks.live.scene import FPS, ROUND, Street

_BOUNDARY = "frame"


class _Camera(http.server.BaseHTTPRequestHandler):
    pictures: list[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        began, index = time.monotonic(), 0
        try:
            while True:
                data = self.pictures[index % len(self.pictures)]
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                size = f"Content-Length: {len(data)}\r\n\r\n"
                self.wfile.write((head + size).encode() + data + b"\r\n")
                index += 1
                time.sleep(max(0.0, began + index / FPS - time.monotonic()))
        except OSError:  # the watcher went
            return

    def log_message(self, *_: object) -> None:
        """Nothing: the address is all that is printed."""


def serve(frames: int) -> http.server.ThreadingHTTPServer:
    """A server of so many frames of the street, again and again, at any free port of 127.0.0.1."""
    street, quality = Street(with_visitor=True), [cv2.IMWRITE_JPEG_QUALITY, 85]
    pictures = [
        cv2.imencode(".jpg", street.frame(index), quality)[1].tobytes() for index in range(frames)
    ]
    handler = type("Handler", (_Camera,), {"pictures": pictures})
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


@contextmanager
def camera(frames: int = ROUND) -> Iterator[str]:
    """The address of a camera in another process, which ends with the block."""
    command = [sys.executable, "-m", "benchmarks.live.camera", "--frames", str(frames)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=250)
    cv2.setNumThreads(1)
    with serve(parser.parse_args().frames) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        threading.Thread(target=server.serve_forever).run()


if __name__ == "__main__":
    main()
