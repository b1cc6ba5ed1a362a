"""One worker: takes videos that nobody has, until all are finished, by it or by others."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from datasets.manifest import VideoEntry
from pre_process.claims import Claims, is_held_by
from utils.errors import UserError, describe_os_error

# Works on one video and calls its second argument with the number of frames done.
Task = Callable[[VideoEntry, Callable[[int], None]], None]
Signature = tuple[int, int] | None

LOOK_AGAIN_SECONDS = 1.0


class Job(Protocol):
    """Work on the videos of a data set; picklable."""

    def __call__(self) -> Task:
        """Build the task, once a process, so that models are loaded once."""

    def product(self, entry: VideoEntry) -> Path:
        """The file or folder that appears, whole, when a video is finished."""


class Worker:
    """Takes videos by claims beside their products (``.claims``).

    Args:
        job: the work.
        entries: the videos, in the order in which to try them.
        before: the products as they were when the run began, see ``signature``; a video is
            finished once its product is another one.
    """

    def __init__(
        self, job: Job, entries: Sequence[VideoEntry], before: Sequence[Signature]
    ) -> None:
        self._job, self._task = job, None
        self._waiting = list(zip(entries, before, strict=True))
        self._claims: dict[Path, Claims] = {}

    def run(self, report: Callable[[int], None], is_stopped: Callable[[], bool]) -> None:
        """Work until all videos are finished, by this worker or another.

        Args:
            report: called with the number of frames done since the last call.
            is_stopped: asked before each video; true: take no more.

        Raises:
            UserError: of the video that fails, naming it.
        """
        while self._waiting and not is_stopped():
            busy = []
            for entry, before in self._waiting:
                if is_stopped():
                    return
                if not self._try(entry, before, report):
                    busy.append((entry, before))
            if len(busy) == len(self._waiting):
                time.sleep(LOOK_AGAIN_SECONDS)
            self._waiting = busy

    def _try(self, entry: VideoEntry, before: Signature, report: Callable[[int], None]) -> bool:
        """False while another worker has the video."""
        product = self._job.product(entry)
        if signature(product) not in (None, before):
            return True
        path = claim_of(product, entry)
        claim = self._claims.setdefault(path.parent, Claims(path.parent)).take(path.name)
        if claim is None:
            return False
        with claim:
            if signature(product) not in (None, before):
                return True
            clear_leftovers(product.parent, entry.name)
            self._task = self._task or self._job()
            try:
                do(self._task, entry, report)
            except UserError:
                if claim.is_held():
                    raise
                return False  # the machine slept, others went on with this video
        return True


def claim_of(product: Path, entry: VideoEntry) -> Path:
    """The file that tells who works on a video."""
    return product.parent / ".claims" / entry.name


def videos_of(process: int, job: Job, entries: Sequence[VideoEntry]) -> list[str]:
    """What a process of this machine was at work on, by its claims."""
    claims = {name_of(each): claim_of(job.product(each), each) for each in entries}
    return [name for name, path in claims.items() if is_held_by(path, process)]


def name_of(entry: VideoEntry) -> str:
    """How messages name a video."""
    return f"{entry.split} video {entry.name}"


def signature(path: Path) -> Signature:
    """What tells a file or folder from one that is renamed over it; ``None``: not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def clear_leftovers(folder: Path, name: str) -> None:
    """Remove half-written parts of video ``name`` that a killed worker left in ``folder``."""
    pattern = re.compile(rf"\.{re.escape(name)}\.[^.]+\.part(\.[^.]+)?")
    for path in Path(folder).glob(".*.part*"):
        if pattern.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def do(task: Task, entry: VideoEntry, report: Callable[[int], None]) -> None:
    """Run a task on a video; its errors name the video.

    Raises:
        UserError: also in place of an ``OSError`` of the system.
    """
    where = name_of(entry)
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
