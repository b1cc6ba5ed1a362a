"""The arguments that every extraction script has: who does the work, and what is done again."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from datasets.manifest import DataSet, VideoEntry, load_dataset, save_dataset, with_max_side
from pre_process.cluster import Job
from utils.config.load import add_config_arguments
from utils.console import count, echo
from utils.errors import UserError


class CheckedJob(Job, Protocol):
    """A job that knows what finished videos were made with."""

    def changes(self, entry: VideoEntry) -> list[str] | None:
        """Settings (``key: old -> new``) that a finished video differs in; ``None``: unfinished."""


def find_unfinished(
    job: CheckedJob, entries: Sequence[VideoEntry], overwrite: bool = False
) -> list[VideoEntry]:
    """The videos whose results are not there yet; with ``overwrite`` all of them.

    Raises:
        UserError: a finished video was made with other settings.
    """
    unfinished = []
    for entry in entries:
        changes = None if overwrite else job.changes(entry)
        if changes is None:
            unfinished.append(entry)
        elif changes:
            raise UserError(
                f"{job.product(entry)}: made with other settings: {'; '.join(changes)}; restore "
                "them, use another data.root, or pass --overwrite"
            )
    return unfinished


def add_extraction_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the scripts have that extract boxes, flow and cubes."""
    add_config_arguments(parser)
    add_work_arguments(parser)
    add_size_argument(parser)


def add_size_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--max_side``."""
    parser.add_argument(
        "--max_side",
        type=count,
        metavar="N",
        help="make frames smaller whose longer side is above N pixels, such as 1280 for 4K; kept "
        "in dataset.json and in checkpoints, so it need not be given again; 0: as they are",
    )


def open_dataset(folder: Path, max_side: int | None) -> DataSet:
    """Read ``dataset.json``; a ``--max_side`` that was given is written into it.

    Raises:
        UserError: see ``load_dataset``.
    """
    dataset = load_dataset(folder)
    if max_side is None or max_side == dataset.max_side:
        return dataset
    dataset = with_max_side(dataset, max_side)
    save_dataset(dataset)
    sizes = {f"{entry.width}x{entry.height}" for entry in dataset.entries}
    echo(f"{dataset.root}: frames are read as {', '.join(sorted(sizes))}")
    return dataset


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, ``--scheduler`` and ``--overwrite``, which every extraction script has."""
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes; default: one per core, or a single one for large networks",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="tcp://HOST:8786 of a dask scheduler: its workers work (docs/many_processes.md)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="do finished videos again (else: skip them)"
    )


def pick_workers(requested: int, uses_network: bool) -> int:
    """Number of processes: as requested; 0: one per core, or one where networks use all cores."""
    if requested < 0:
        raise UserError(f"--workers {requested}: must be 1 or more (0: as many as there are cores)")
    if requested:
        return requested
    return 1 if uses_network else len(os.sched_getaffinity(0))
