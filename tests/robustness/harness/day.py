"""A day of frames through the watching loop, in minutes: is every row there, does memory grow?

python -m tests.robustness.harness.day --frames 2160000

Camera, boxes and errors of cubes are made up, for they take the time of a day; buffer, scores,
smoothing, alarms with their pictures, tables in parts and reports are the product's. The whole
chain, in fewer frames: ``python -m benchmarks.long_run``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.long_tasks import MadeUpCamera, PatientFrames
from benchmarks.process_watch import describe, watched
from inference.live.loop import watch_live
from inference.live.scorer import LiveExtractor, LiveScorer
from inference.live.writer import LiveSettings
from inference.predictor import Predictor, load_predictor
from pre_process.cubes.extractor import FrameCubes
from tests.helpers.tiny_checkpoint import write_checkpoint
from utils.config.alarms import AlarmConfig

_AHEAD = 32  # frames that the camera may be ahead of the scores
_TRIM = 4  # frames that fill the history after each connection, without a row
_LENGTH = 25  # frames of an event
_BOX = np.array([[20, 20, 36, 36]], np.float32)
_CALM, _ALARMING, _THRESHOLD = 10.0, 1e5, 500.0  # errors, and the score between them


class Camera(MadeUpCamera):
    """Ends after ``total`` frames, or when its time is over."""

    def __init__(self, total: int, places: threading.Semaphore, minutes: float) -> None:
        self._until = time.monotonic() + 60 * minutes
        super().__init__(total, places)

    @property
    def has_end(self) -> bool:
        """See ``MadeUpCamera``."""
        return super().has_end or time.monotonic() > self._until


class MadeUpCubes:
    """An extractor that gives one empty cube a frame, ``CubeExtractor``'s methods."""

    def __init__(self) -> None:
        self._count = 0
        self._cube = np.zeros((1, 5, 32, 32, 3), np.uint8), np.zeros((1, 4, 32, 32, 2), np.float16)

    def start(self) -> None:
        """Another camera."""

    skip = start

    def push(self, _: np.ndarray) -> list[FrameCubes]:
        """The cube of a frame."""
        self._count += 1
        return [FrameCubes(self._count, _BOX, *self._cube)]

    def flush(self) -> list[FrameCubes]:
        """Nothing waits."""
        return []


class MadeUpPredictor:
    """A predictor whose cubes and errors are made up; the rest is the real one's."""

    def __init__(self, predictor: Predictor, every: int) -> None:
        self._predictor, self._every = predictor, every
        self._scored = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def live_extractor(self) -> LiveExtractor:
        """See the class."""
        return LiveExtractor(MadeUpCubes())  # type: ignore

    def live_scorer(self) -> LiveScorer:
        """See the class."""
        return LiveScorer(self.scorer, self.rule, self.smoothing)

    def scorer(self, appearance: np.ndarray, _: np.ndarray) -> dict[str, np.ndarray]:
        """Calm errors, and an event now and then."""
        numbers = np.arange(self._scored, self._scored + len(appearance))
        self._scored += len(appearance)
        errors = np.where(numbers % self._every < _LENGTH, _ALARMING, _CALM).astype(np.float32)
        return {"flow_error": errors, "frame_error": errors, "energy": errors}


def day(
    folder: Path, frames: int, minutes: float, every: int
) -> tuple[dict[str, Any], PatientFrames]:
    """Watch so many frames, or so long; ``describe``'s numbers and the buffer.

    Args:
        every: frames from one event to the next.
    """
    predictor = MadeUpPredictor(
        load_predictor(write_checkpoint(folder / "last.pth"), [], "torch", "cpu"), every
    )
    places = threading.Semaphore(_AHEAD)
    camera = Camera(frames, places, minutes)
    output = folder / "out"
    output.mkdir()
    settings = LiveSettings(
        with_video=False,
        part_seconds=60.0,
        keep_parts=0,
        alarms=AlarmConfig(clips=False, min_seconds=0, merge_seconds=0),
    )
    with watched(lambda: camera.given, max(0.05, frames / 1e6)) as samples:
        source = PatientFrames(lambda: camera, places)
        watch_live(predictor, source, _THRESHOLD, output, "made up", settings)  # type: ignore
    return describe("a day", "frames", 1000, samples), source


def check(output: Path, frames: int) -> dict[str, int]:
    """Count what was written.

    Raises:
        AssertionError: a frame has no row, or more than one.
    """
    scored = np.zeros(frames, bool)
    parts = list(output.glob("frame_scores*.csv"))
    for path in parts:
        with path.open(newline="", encoding="utf-8") as handle:
            numbers = [int(row["frame"]) for row in csv.DictReader(handle)]
        assert not scored[numbers].any(), f"{path}: a frame twice"
        scored[numbers] = True
    lines = (output / "alarms.jsonl").read_text(encoding="utf-8").splitlines()
    ended = sum(json.loads(line)["event"] == "ended" for line in lines)
    pages = (output / "report.html").stat().st_size
    return {"rows": int(scored.sum()), "parts": len(parts), "alarms": ended, "page": pages}


def main(argv: Sequence[str] | None = None) -> None:
    """Watch, check, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2_160_000, help="a day has 25 * 86400")
    parser.add_argument("--minutes", type=float, default=1440.0, help="end then, whatever came")
    parser.add_argument("--every", type=int, default=2000, help="frames from alarm to alarm")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        run, source = day(Path(scratch), options.frames, options.minutes, options.every)
        found = check(Path(scratch) / "out", source.captured)
    assert found["rows"] == source.captured - _TRIM * (1 + source.reconnected), "rows are missing"
    events = math.ceil(found["rows"] / options.every)
    assert abs(found["alarms"] - events) <= 1 + source.reconnected, f"{events} events, {found}"
    samples = run["samples"]
    print(f"{source.captured} frames, {source.dropped} dropped, {source.reconnected} reconnections")
    print(f"{found['rows']} rows in {found['parts']} parts, {found['alarms']} alarms, "
          f"report of {found['page'] / 2**20:.1f} MiB")  # fmt: skip
    first = next(each for each in samples if each[0] > 0.01 * source.captured)
    print(f"memory (MiB): {first[2] / 2**20:.0f} at one hundredth, {run['rss_half_mib']:.0f} at "
          f"half, {run['rss_end_mib']:.0f} at the end; files {run['files']}, threads "
          f"{run['threads']}: {run['verdict']}")  # fmt: skip
    seconds = time.monotonic() - begun
    print(f"{seconds:.0f} s, {source.captured / seconds:.0f} frames a second")


if __name__ == "__main__":
    sys.exit(main())
