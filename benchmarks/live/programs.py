"""``infer.py`` as a user starts it, on a file and on a camera, watched from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.live.viewers import viewers
from benchmarks.process_watch import describe, processor_seconds, watched
from benchmarks.worker import ROOT

_WARM = 100  # frames that do not count
# Walkers score below 15 and the visitor above 100. The model's own threshold is from too little
# video: with it a run may be one long alarm, whose clip is a second video to encode.
_THRESHOLD = ["--threshold", "50"]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def offline(model: Path, videos: tuple[Path, Path], lengths: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds of a frame of a file, with everything that ``infer.py`` writes.

    Both videos are scored; the difference is that of the frames which one has more than the other,
    without the start of the program and without the report.

    Args:
        model: a run's folder.
        videos: a short one and a long one; lengths: their frames.
    """
    used = [_score(model, video) for video in videos]
    frames = lengths[1] - lengths[0]
    wall, processor = (used[1][n] - used[0][n] for n in range(2))
    return {
        "frames": frames,
        "ms": 1000 * wall / frames,
        "processor_ms": 1000 * processor / frames,
        "fps": frames / wall,
    }


def _score(model: Path, video: Path) -> tuple[float, float]:
    """Seconds of scoring alone as the program reports them, and processor seconds of all of it."""
    command = [sys.executable, "infer.py", "--model", str(model), "--source", str(video)]
    command += ["--output", str(video.with_suffix("")), "--overwrite", *_THRESHOLD]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"frames, \d+ cubes in ([\d.]+) s", said)
    if process.returncode or found is None:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    return float(found[1]), usage.ru_utime + usage.ru_stime


class LiveRun:
    """``infer.py --live --serve`` on a camera; a context manager, entered when frames are scored.

    Args:
        model: a run's folder; camera: an address.
        output: folder of the results.
        extra: more of the command line.
    """

    def __init__(self, model: Path, camera: str, output: Path, extra: list[str]) -> None:
        command = [sys.executable, "infer.py", "--model", str(model), "--source", camera]
        command += ["--live", "--serve", "0", "--output", str(output), "--overwrite"]
        command += [*_THRESHOLD, *extra]
        self._log = output.with_suffix(".log")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True
            )

    def __enter__(self) -> LiveRun:
        self.address = self._wait_for(r"page: (\S+)")
        while self.status()["scored"] < _WARM:
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def measure(self, count: int, seconds: float) -> dict[str, Any]:
        """Watch it for so long, with so many viewers."""
        number = self._process.pid
        before, used = self.status(), processor_seconds(number)
        scored = lambda: self.status()["scored"]  # noqa: E731
        with (
            viewers(self.address, count, seconds) as viewed,
            watched(scored, min(1.0, seconds / 60), number) as samples,
        ):
            time.sleep(seconds)
        after, used = self.status(), processor_seconds(number) - used
        frames = after["scored"] - before["scored"]
        return {
            "viewers": count,
            "seconds": seconds,
            "frames": frames,
            "dropped": after["dropped"] - before["dropped"],
            "reconnections": after["reconnections"] - before["reconnections"],
            "fps": frames / seconds,
            "latency_p50_ms": after["latency_p50_ms"],
            "latency_p99_ms": after["latency_p99_ms"],
            "processor_ms": 1000 * used / frames,
            "alarms": after["alarms"],
            "memory": describe("live", "frames", 1000, samples),
            "viewed": viewed,
        }

    def status(self) -> dict[str, Any]:
        """What the page reports."""
        with _OPENER.open(self.address + "status", timeout=30) as answer:
            return json.load(answer)

    def end(self) -> str:
        """Stop it as Ctrl-C does; gives the line that sums it up."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(60)
        said = self._log.read_text(encoding="utf-8")
        if code:
            raise SystemExit(f"infer.py --live: exit code {code}\n{said}")
        return next(line for line in said.splitlines() if " over: " in line and "scored" in line)

    def _wait_for(self, pattern: str) -> str:
        while self._process.poll() is None:
            found = re.search(pattern, self._log.read_text(encoding="utf-8"))
            if found:
                return found[1]
            time.sleep(0.1)
        raise SystemExit(f"infer.py --live ended:\n{self._log.read_text(encoding='utf-8')}")
