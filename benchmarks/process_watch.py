"""What a process holds while it works: memory, open files, threads; and whether that grows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_SLACK = 4 * 2**20  # bytes that the second half of a run may add: pages the allocator shifts
_LEAST = 16  # samples, fewer show no trend


class Sample(NamedTuple):
    """A process at one time.

    Attributes:
        progress: work done, in the run's own unit.
        seconds: since the watch began.
        rss: resident memory, bytes; without pages of files that are mapped (cubes, libraries),
            which the system drops when it needs room.
        files: open file descriptors.
        threads: of the process.
    """

    progress: float
    seconds: float
    rss: int
    files: int
    threads: int


class Trend(NamedTuple):
    """How the second half of a run went.

    Attributes:
        grown: bytes that a straight line through the samples rises by over that half.
        files, threads: by how many the least of the last quarter exceeds the most of the first
            half, 0 where it does not.
        grows: whether that is more than chance.
    """

    grown: int
    files: int
    threads: int
    grows: bool


@contextmanager
def watched(
    progress: Callable[[], float], every: float, process: int | str = "self"
) -> Iterator[list[Sample]]:
    """Sample a process in a thread; the list fills while the block runs.

    Args:
        progress: tells how much work is done.
        every: seconds between samples.
        process: its number; by default this one.
    """
    samples: list[Sample] = []
    begun, over = time.monotonic(), threading.Event()

    def watch() -> None:
        while not over.wait(every):
            samples.append(_take(progress(), time.monotonic() - begun, process))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _take(progress: float, seconds: float, process: int | str) -> Sample:
    folder = Path(f"/proc/{process}")
    resident, of_files = map(int, (folder / "statm").read_text(encoding="ascii").split()[1:3])
    pages = resident - of_files
    files = len(os.listdir(folder / "fd"))  # noqa: PTH208
    threads = len(os.listdir(folder / "task"))  # noqa: PTH208
    if process == "self":
        files -= 1  # this listing
    return Sample(progress, seconds, pages * os.sysconf("SC_PAGE_SIZE"), files, threads)


def processor_seconds(process: int) -> float:
    """Processor time of all threads of a process, as user and in the system."""
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    return sum(map(int, after_name.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def trend(samples: Sequence[Sample]) -> Trend:
    """Whether a run's second half, by progress, holds more and more.

    The first half fills what is bounded: the allocator's pools, latencies and alarms remembered.

    Raises:
        ValueError: too few samples to tell.
    """
    done = np.array([each.progress for each in samples])
    half = done >= done[-1] / 2 if len(samples) else np.zeros(0, bool)
    if half.sum() < _LEAST or np.ptp(done[half]) == 0:
        raise ValueError(f"{int(half.sum())} samples of the second half; take them more often")
    rss = np.array([each.rss for each in samples], float)
    slope, _ = np.polyfit(done[half], rss[half], 1)
    grown = int(slope * np.ptp(done[half]))
    files, threads = (
        _excess(np.array([getattr(each, name) for each in samples]), done)
        for name in ("files", "threads")
    )
    return Trend(grown, files, threads, grown > _SLACK or files > 0 or threads > 0)


def _excess(counts: np.ndarray, done: np.ndarray) -> int:
    share = done / done[-1]
    return max(0, int(counts[share >= 0.75].min() - counts[share < 0.5].max(initial=0)))


def describe(name: str, unit: str, per: float, samples: Sequence[Sample]) -> dict[str, Any]:
    """A run in numbers.

    Args:
        name: of the run; ``unit``: of its progress, ``per``: the number that growth is given for.
        samples: in order.
    """
    found = trend(samples)
    last = samples[-1]
    middle = next(each for each in samples if each.progress >= last.progress / 2)
    return {
        "run": name,
        "unit": unit,
        "amount": last.progress,
        "seconds": round(last.seconds, 1),
        "rss_half_mib": round(middle.rss / 2**20, 1),
        "rss_end_mib": round(last.rss / 2**20, 1),
        "growth_kib": round(found.grown / 2**10 / (last.progress - middle.progress) * per, 2),
        "growth_per": per,
        "files": [middle.files, last.files],
        "threads": [middle.threads, last.threads],
        "verdict": "grows" if found.grows else "flat",
        "samples": [list(each) for each in samples],
    }
