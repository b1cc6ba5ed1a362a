"""Watch a camera that misbehaves, in real time, and check what the live run leaves.

python -m tests.robustness.harness.stream --seconds 480 --seed 0
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av

from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.repository.test_structure import ROOT
from tests.robustness.harness.camera import BadCamera, Server

_START = 300.0  # seconds until the first row has to be there
_SETTLED = 20.0  # seconds behind it after which memory is taken as that of the start
_HEAD = 40  # bytes of a table without rows, at most
_ALIVE = 40.0  # seconds in which a row has to come: a time-out, a pause, a connection
_ENDING = 300.0  # seconds for all files to be finished, on cores that others use, too
_WAITING = 2 * 25  # frames that may wait: two seconds of them


def resident_mib(pid: int) -> float:
    """Memory of a process without the files that it maps."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"RssAnon:\s+(\d+)", text)[0]) / 1024


def start(folder: Path, address: str, part_minutes: float) -> subprocess.Popen:
    """``infer.py --live`` on the address, with video, clips and a page."""
    model = write_checkpoint(folder / "model" / "last.pth")
    command = [sys.executable, str(ROOT / "infer.py"), "--model", str(model), "--source", address,
               "--live", "--output", str(folder / "out"), "--threshold", "0", "--serve", "0",
               "--part_minutes", str(part_minutes), "--keep_parts", "0", "--fps", "25"]  # fmt: skip
    log = (folder / "log").open("w", encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=clean, cwd=ROOT)


def watch(process: subprocess.Popen, folder: Path, seconds: float) -> list[float]:
    """Memory every second from the first row on, MiB; rows have to keep coming.

    Raises:
        SystemExit: it ended, or no row came for too long.
    """
    began = grown = time.monotonic()
    memory: list[float] = []
    size = 0
    while not size or time.monotonic() - began < seconds:
        if process.poll() is not None:
            raise SystemExit(f"it ended with {process.returncode}\n{_log(folder)}")
        now = sum(path.stat().st_size for path in (folder / "out").glob("frame_scores*.csv"))
        if now > size + _HEAD * (not size):
            began = began if size else time.monotonic()
            size, grown = now, time.monotonic()
        if time.monotonic() - grown > (_ALIVE if size else _START):
            raise SystemExit(f"no row for {time.monotonic() - grown:.0f} s\n{_log(folder)}")
        if size and time.monotonic() - began > _SETTLED:
            memory.append(resident_mib(process.pid))
        time.sleep(1)
    return memory


def check(folder: Path) -> dict[str, int]:
    """Everything that was written is whole; how much that is.

    Raises:
        AssertionError: something is not.
    """
    out = folder / "out"
    rows = [row for path in out.glob("frame_scores*.csv") for row in _rows(path)]
    frames = [int(row["frame"]) for row in rows]
    assert len(set(frames)) == len(frames), "frames twice"
    assert all(None not in row.values() and row["score"] for row in rows), "half a row"
    for path in out.glob("cube_scores*.csv"):
        assert all(None not in row.values() for row in _rows(path)), f"half a row in {path}"
    events = [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]
    alarms = json.loads((out / "alarms.json").read_text())["alarms"]
    assert sum(each["event"] == "ended" for each in events) >= len(alarms) > 0
    videos = [_count(path) for path in sorted(out.glob("annotated*.mp4"))]
    clips = [_count(path) for path in out.glob("clips/*.mp4")]
    assert min(videos + clips) > 0 and not list(out.rglob("*.part*")), "half-written files"
    page = (out / "report.html").read_text()
    came, scored, dropped = map(
        int, re.findall(r"(\d+) came, (\d+) scored, (\d+) dropped", page)[0]
    )
    waiting = came - scored - dropped  # when the signal came
    assert 0 <= waiting <= _WAITING, f"{came} came, {scored} scored, {dropped} dropped"
    assert sum(videos) == scored, f"{sum(videos)} pictures in the videos, {scored} scored"
    (gone,) = re.findall(
        r"(\d+) reconnections, \d+ alarms\n", _log(folder).rpartition(" over: ")[2]
    )
    return {"came": came, "scored": scored, "dropped": dropped, "waiting at the end": waiting,
            "rows": len(rows), "reconnections": int(gone), "alarms": len(alarms),
            "clips": len(clips), "parts": len(videos)}  # fmt: skip


def _told(memory: Sequence[float]) -> str:
    eighths = [memory[(len(memory) - 1) * part // 8] for part in range(9)]
    return (
        f"memory (MiB) from {_SETTLED:.0f} s on, in eighths: "
        f"{' '.join(f'{each:.0f}' for each in eighths)}; {max(memory):.0f} at most"
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        assert handle.read().endswith("\n"), f"{path} ends within a line"
        handle.seek(0)
        return list(csv.DictReader(handle))


def _count(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def _log(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8", errors="replace")


def main(argv: Sequence[str] | None = None) -> None:
    """Watch, end it with SIGTERM, check, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="*", default=[], help="names of those; default: all")
    options = parser.parse_args(argv)
    camera = BadCamera(options.seed, options.faults)
    with tempfile.TemporaryDirectory() as scratch, Server(camera) as server:
        folder = Path(scratch)
        process = start(folder, server.address, part_minutes=2)
        try:
            memory = watch(process, folder, options.seconds)
            print(_told(memory), flush=True)
            process.send_signal(signal.SIGTERM)
            ending = time.monotonic()
            code = process.wait(timeout=_ENDING)
            print(f"{time.monotonic() - ending:.0f} s from the signal to the end", flush=True)
        finally:
            process.kill()
        log = _log(folder)
        assert code == 0 and "Traceback" not in log, f"exit code {code}\n{log[-4000:]}"
        found = check(folder)
        server.shutdown()
    print("sent: " + ", ".join(f"{count} {what}" for what, count in sorted(camera.sent.items())))
    print("infer.py: " + ", ".join(f"{count} {what}" for what, count in found.items()))
    print(f"{options.seconds:.0f} s, seed {options.seed}: nothing half-written")


if __name__ == "__main__":
    sys.exit(main())
