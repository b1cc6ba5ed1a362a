"""Viewers of a live page in a process of their own: each does what the page in a browser does.

A viewer holds the stream of pictures open and asks for numbers and alarms once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_BOUNDARY = b"--picture\r\n"


class Viewer:
    """Counts what it is sent."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.pictures = self.bytes = self.answers = self.errors = 0

    async def watch(self, seconds: float) -> None:
        """Look for so long."""
        tasks = [asyncio.create_task(each) for each in (self._pictures(), self._ask())]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            self.errors += task.done()  # neither ends by itself
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        host = f"Host: {self._host}:{self._port}\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode())
        return reader, writer

    async def _pictures(self) -> None:
        reader, writer = await self._open("/picture.mjpg")
        last = b""
        try:
            while data := await reader.read(1 << 16):
                self.bytes += len(data)
                self.pictures += (last + data).count(_BOUNDARY)
                last = data[1 - len(_BOUNDARY) :]  # one may be cut in two
        finally:
            writer.close()

    async def _ask(self) -> None:
        while True:
            for path in ("/status", "/alarms"):
                reader, writer = await self._open(path)
                answer = await reader.read()
                writer.close()
                json.loads(answer.partition(b"\r\n\r\n")[2])
                self.answers += 1
            await asyncio.sleep(1.0)


async def watch(address: str, count: int, seconds: float) -> dict[str, Any]:
    """What so many viewers were sent.

    Returns:
        ``seconds``; ``pictures``, ``answers`` of the viewer with the fewest; ``bytes`` of all;
        ``errors``: connections that ended.
    """
    place = urllib.parse.urlsplit(address)
    viewers = [Viewer(place.hostname or "", place.port or 80) for _ in range(count)]
    await asyncio.gather(*(viewer.watch(seconds) for viewer in viewers))
    return {
        "viewers": count,
        "seconds": seconds,
        "pictures": min(viewer.pictures for viewer in viewers),
        "answers": min(viewer.answers for viewer in viewers),
        "bytes": sum(viewer.bytes for viewer in viewers),
        "errors": sum(viewer.errors for viewer in viewers),
    }


@contextmanager
def viewers(address: str, count: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Have so many look in another process while the block runs; filled when it ends."""
    found: dict[str, Any] = {}
    if not count:
        yield found
        return
    command = [sys.executable, "-m", "benchmarks.live.viewers", "--address", address]
    command += ["--count", str(count), "--seconds", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield found
        found |= json.loads(process.communicate(timeout=seconds + 60)[0])
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Look, then print what came as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(watch(options.address, options.count, options.seconds))))


if __name__ == "__main__":
    main()
