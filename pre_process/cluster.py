"""Videos shared out over processes, here or on other machines, by dask.distributed."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch

from datasets.manifest import VideoEntry
from utils.errors import UserError, describe_os_error
from utils.files import remove_parts
from utils.progress import ProgressBar
from utils.run_folder import sole_writer

logger = logging.getLogger(__name__)

# Works on one video and calls its second argument with the number of frames done.
Task = Callable[[VideoEntry, Callable[[int], None]], None]

_REPORT_SECONDS = 0.2
_CONNECT_SECONDS = 10
_ATTEMPTS = 3  # a video whose worker is killed so often is given up
_FRAMES, _STARTED = "frames", "started"  # topics of dask's events


class Job(Protocol):
    """Work on the videos of a data set; picklable."""

    def __call__(self) -> Task:
        """Build the task, once per process, so that models are loaded once."""

    def product(self, entry: VideoEntry) -> Path:
        """The file or folder that appears, whole, when a video is finished."""


def run_over_videos(
    job: Job, entries: Sequence[VideoEntry], workers: int, what: str, scheduler: str | None = None
) -> int:
    """Do one task per video, longest videos first, with one progress bar over all frames.

    Args:
        job: the work.
        entries: the videos.
        workers: processes on this machine; 1: this one.
        what: word in front of the progress bar.
        scheduler: address of a dask scheduler; its workers then do the work.

    Returns:
        The number of frames done.

    Raises:
        UserError: videos that failed, after all others were done; another run at work in the same
            folder; a scheduler that cannot be used.
    """
    entries = sorted(entries, key=lambda entry: -entry.num_frames)
    total = sum(entry.num_frames for entry in entries)
    folders = sorted({job.product(entry).parent for entry in entries})
    with contextlib.ExitStack() as stack:
        for folder in folders:  # before and after, what killed workers left half-written goes
            stack.enter_context(sole_writer(folder, "wait for it"))
            stack.callback(remove_parts, folder)
        bar = stack.enter_context(
            ProgressBar(total=total, desc=what, unit="frame", disable=not entries)
        )
        if not entries:
            failures = []
        elif workers == 1 and scheduler is None:
            failures = _run_here(job, entries, bar)
        else:
            client = stack.enter_context(_client(min(workers, len(entries)), scheduler))
            failures = _run_on_cluster(client, job, entries, bar)
    if failures:
        more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
        raise UserError(f"{failures[0]}{more}")
    return total


def _run_here(job: Job, entries: Sequence[VideoEntry], bar: ProgressBar) -> list[str]:
    task, failures = job(), []
    for entry in entries:
        try:
            _run_task(task, entry, bar.update)
        except UserError as error:
            failures.append(str(error))
            _tell_failure(error)
    return failures


def _run_on_cluster(
    client: Any, job: Job, entries: Sequence[VideoEntry], bar: ProgressBar
) -> list[str]:
    import distributed

    started: set[str] = set()

    def note_start(event: tuple[float, str]) -> None:
        if event[1] in started:
            logger.warning("%s: its worker was lost, another one does it again", event[1])
        started.add(event[1])

    client.subscribe_topic(_FRAMES, lambda event: bar.update(event[1]))
    client.subscribe_topic(_STARTED, note_start)
    content = pickle.dumps(job)
    futures = {
        client.submit(_work, content, entry, pure=False, priority=-place): entry
        for place, entry in enumerate(entries)
    }
    failures = []
    for future in distributed.as_completed(list(futures)):
        try:
            future.result()
        except UserError as error:
            failures.append(str(error))
            _tell_failure(error)
        except distributed.KilledWorker:
            failures.append(
                f"{_name(futures[future])}: its worker process was killed {_ATTEMPTS} times, most "
                "often for lack of memory; run the same command again with fewer --workers"
            )
        except ModuleNotFoundError as error:
            raise UserError(
                f"a worker lacks this project ({error}); start it in the project's folder: "
                "PYTHONPATH=. dask worker ADDRESS --nthreads 1"
            ) from None
    return failures


@contextlib.contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A client of a cluster of our own, which ends with it, or of the one at ``scheduler``."""
    import dask
    import distributed

    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    if method == "forkserver":  # the workers share one import of the libraries
        preload = [__name__, "pre_process.cubes.extractor", "distributed.nanny"]
        multiprocessing.get_context(method).set_forkserver_preload(preload)
    settings = {
        "distributed.worker.multiprocessing-method": method,
        "distributed.scheduler.allowed-failures": _ATTEMPTS - 1,
    }
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        if scheduler is None:
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,  # a task's networks and buffers are of one thread
                memory_limit=0,
                dashboard_address="127.0.0.1:0",  # a free port; else a second run is warned of
                silence_logs=logging.CRITICAL,
            )
            yield stack.enter_context(distributed.Client(stack.enter_context(cluster)))
        else:
            yield stack.enter_context(_connect(scheduler))


def _connect(scheduler: str) -> Any:
    import distributed

    remedy = (
        f"start 'dask scheduler' on that machine and, in the project's folder of each machine, "
        f"'PYTHONPATH=. dask worker {scheduler} --nthreads 1'"
    )
    try:
        client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS)
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(f"--scheduler {scheduler}: {error}; {remedy}") from None
    threads = {each["nthreads"] for each in client.scheduler_info(-1)["workers"].values()}
    if threads != {1}:
        raise UserError(f"--scheduler {scheduler}: workers have {threads} threads; {remedy}")
    try:
        client.get_versions(check=True)
    except ValueError as error:
        raise UserError(f"--scheduler {scheduler}: versions differ: {error}") from None
    return client


@functools.lru_cache(maxsize=1)
def _task_of(content: bytes) -> Task:
    """The task of a pickled job, built once for all videos of this process."""
    cv2.setNumThreads(1)  # the processes share the cores already
    torch.set_num_threads(1)
    return pickle.loads(content)()


def _work(content: bytes, entry: VideoEntry) -> None:
    """One video, in a worker process."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(_STARTED, _name(entry))
    reporter = _Reporter(lambda frames: worker.log_event(_FRAMES, frames))
    _run_task(_task_of(content), entry, reporter)
    reporter.flush()


def _run_task(task: Task, entry: VideoEntry, report: Callable[[int], None]) -> None:
    """Run a task on a video; its errors name the video.

    Raises:
        UserError: also in place of an ``OSError`` of the system.
    """
    try:
        task(entry, report)
    except UserError as error:
        raise UserError(f"{_name(entry)}: {error}") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(f"{_name(entry)}: {describe_os_error(error)}") from None
    except Exception as error:
        error.add_note(f"while working on {_name(entry)}")
        raise


def _name(entry: VideoEntry) -> str:
    return f"{entry.split} video {entry.name}"


def _tell_failure(error: UserError) -> None:
    logger.warning("%s; the other videos are done first", error)


class _Reporter:
    """Passes frame counts on, a few times a second."""

    def __init__(self, send: Callable[[int], None]) -> None:
        self._send, self._frames, self._sent = send, 0, time.monotonic()

    def __call__(self, frames: int) -> None:
        self._frames += frames
        if time.monotonic() - self._sent > _REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what was not sent yet."""
        self._send(self._frames)
        self._frames, self._sent = 0, time.monotonic()
