"""Videos shared out over processes, with progress counted in frames."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from datasets.manifest import VideoEntry
from utils.errors import UserError, describe_os_error

# Works on one video and calls its second argument with the number of frames done.
Task = Callable[[VideoEntry, Callable[[int], None]], None]

_task: Task | None = None
_counter: Any = None


def run_over_videos(
    make_task: Callable[[], Task], entries: Sequence[VideoEntry], workers: int, what: str
) -> None:
    """Do one task a video, in ``workers`` processes (1: in this one), longest videos first.

    Args:
        make_task: builds the task once a process, so that models are loaded once; it must be
            picklable.
        entries: the videos.
        workers: number of processes, at least 1.
        what: word in front of the progress bar.

    Raises:
        UserError: of the first video that fails, naming it; running videos are finished or
            given up whole, those not begun are left.
    """
    entries = sorted(entries, key=lambda entry: -entry.num_frames)
    total = sum(entry.num_frames for entry in entries)
    with tqdm(total=total, desc=what, unit="frame", file=sys.stderr) as bar:
        if workers == 1:
            task = make_task()
            for entry in entries:
                _do(task, entry, bar.update)
        elif entries:
            _run_in_pool(make_task, entries, min(workers, len(entries)), bar)


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--overwrite``, which every extraction script has."""
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes; default: one a core, or one in all for large networks",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="do finished videos again (else: skip them)"
    )


def clear_leftovers(folder: Path) -> None:
    """Remove half-written parts in ``folder/SPLIT`` that a killed process left behind."""
    for path in Path(folder).glob("*/.*.part*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def pick_workers(wanted: int, uses_network: bool) -> int:
    """Number of processes: as asked for; 0: one a core, or one where networks use all cores."""
    if wanted < 0:
        raise UserError(f"--workers {wanted}: must be 1 or more (0: as many as there are cores)")
    if wanted:
        return wanted
    return 1 if uses_network else len(os.sched_getaffinity(0))


def _run_in_pool(
    make_task: Callable[[], Task], entries: Sequence[VideoEntry], workers: int, bar: tqdm
) -> None:
    context = _process_context()
    counter = context.Value("q", 0)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, context, _start_worker, (make_task, counter)
    )
    try:
        futures = [pool.submit(_work, entry) for entry in entries]
        while True:
            done, waiting = concurrent.futures.wait(futures, timeout=0.5)
            bar.update(counter.value - bar.n)
            for future in done:
                future.result()
            if not waiting:
                return
    except BrokenProcessPool:
        raise UserError(
            "a worker process ended without a word, most often for lack of memory; run the same "
            "command again with fewer --workers (finished videos are kept)"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _process_context() -> Any:
    """Fresh processes (forking this one would break its threads and GPU state), which share one
    import of the libraries where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pre_process.streaming"])
    return context


def _start_worker(make_task: Callable[[], Task], counter: Any) -> None:
    global _task, _counter
    cv2.setNumThreads(1)  # the processes share the cores already
    torch.set_num_threads(1)
    _counter = counter
    _task = make_task()


def _work(entry: VideoEntry) -> None:
    assert _task is not None
    _do(_task, entry, _count)


def _count(frames: int) -> None:
    with _counter.get_lock():
        _counter.value += frames


def _do(task: Task, entry: VideoEntry, report: Callable[[int], None]) -> None:
    where = f"{entry.split} video {entry.name}"
    try:
        task(entry, report)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(f"{where}: {describe_os_error(error)}") from None
    except Exception as error:
        error.add_note(f"while working on {where}")
        raise
