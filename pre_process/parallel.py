"""Videos shared out over processes, here and on other machines, with progress in frames."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2
import torch
from tqdm import tqdm

from datasets.manifest import VideoEntry
from pre_process.workers import Job, Signature, Worker, signature, videos_of
from utils.errors import UserError

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 0.2


def run_over_videos(job: Job, entries: Sequence[VideoEntry], workers: int, what: str) -> int:
    """Do one task a video, in ``workers`` processes (1: in this one), longest videos first.

    The same command on other machines that see the same folders takes part: every worker claims
    the videos it works on, waits for those of others, and takes over those of killed ones.

    Args:
        job: the work.
        entries: the videos.
        workers: number of processes, at least 1.
        what: word in front of the progress bar.

    Returns:
        The number of frames done here.

    Raises:
        UserError: of the first video that fails, naming it; running videos are finished or
            given up whole, those not begun are left. Or all worker processes were killed.
    """
    entries = sorted(entries, key=lambda entry: -entry.num_frames)
    before = [signature(job.product(entry)) for entry in entries]
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc=what, unit="frame", file=sys.stderr) as bar:
        if workers == 1:
            Worker(job, entries, before).run(bar.update, lambda: False)
        elif entries:
            _Crew(job, entries, before, min(workers, len(entries))).run(bar)
        return bar.n


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--overwrite``, which every extraction script has."""
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes; default: one a core, or one in all for large networks; the same command "
        "on another machine that sees the same data folder takes part",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="do finished videos again (else: skip them)"
    )


def pick_workers(wanted: int, uses_network: bool) -> int:
    """Number of processes: as asked for; 0: one a core, or one where networks use all cores."""
    if wanted < 0:
        raise UserError(f"--workers {wanted}: must be 1 or more (0: as many as there are cores)")
    if wanted:
        return wanted
    return 1 if uses_network else len(os.sched_getaffinity(0))


class _Crew:
    """Worker processes; each has a pipe of its own, so that killing one blocks no other."""

    def __init__(
        self, job: Job, entries: Sequence[VideoEntry], before: Sequence[Signature], size: int
    ) -> None:
        context = _process_context()
        self._job, self._entries, self._lost = job, entries, []
        self._processes: dict[Connection, Any] = {}
        self._all_done = False
        for _ in range(size):
            ours, theirs = context.Pipe()
            arguments = (theirs, job, entries, before)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def run(self, bar: tqdm) -> None:
        """Wait for all of them; ``bar`` shows what they report."""
        try:
            while self._processes:
                for pipe in wait(list(self._processes), timeout=1.0):
                    self._receive(pipe, bar)
            if not self._all_done:
                raise UserError(
                    "all worker processes were killed, most often for lack of memory (the last at "
                    f"work on {self._lost[-1]}); run the same command again with fewer --workers "
                    "(finished videos are kept)"
                )
        finally:
            for pipe, process in self._processes.items():
                pipe.close()  # which tells the worker to take no more videos
                process.join()

    def _receive(self, pipe: Connection, bar: tqdm) -> None:
        try:
            message = pipe.recv()
        except EOFError:
            process = self._processes.pop(pipe)
            process.join()
            if process.exitcode == 0:
                self._all_done = True
            else:
                names = videos_of(process.pid, self._job, self._entries)
                self._lost.append(", ".join(names) or "no video yet")
                logger.warning(
                    "a worker process was killed (exit code %d) at work on %s; the others do that",
                    process.exitcode, self._lost[-1],
                )  # fmt: skip
            return
        if isinstance(message, Exception):
            raise message
        bar.update(message)


def _process_context() -> Any:
    """Fresh processes (forking this one would break its threads and GPU state), which share one
    import of the libraries where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pre_process.streaming"])
    return context


def _work(
    pipe: Connection, job: Job, entries: Sequence[VideoEntry], before: Sequence[Signature]
) -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    torch.set_num_threads(1)
    reporter = _Reporter(pipe)
    try:
        Worker(job, entries, before).run(reporter, pipe.poll)
        reporter.flush()
    except KeyboardInterrupt:  # the parent gets one, too
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, UserError):
            error.add_note(traceback.format_exc())
        with contextlib.suppress(OSError):
            pipe.send(error)


class _Reporter:
    """Sends frame counts, a few times a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._frames, self._sent = pipe, 0, time.monotonic()

    def __call__(self, frames: int) -> None:
        self._frames += frames
        if time.monotonic() - self._sent > _REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what was not sent yet; ends this process where the parent has ended."""
        try:
            self._pipe.send(self._frames)
        except OSError:
            sys.exit(130)
        self._frames, self._sent = 0, time.monotonic()
