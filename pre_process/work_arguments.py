"""The arguments that every extraction script has: who does the work, and what is done again."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from datasets.manifest import DataSet, load_dataset, save_dataset, with_max_side
from utils.console import count, echo
from utils.errors import UserError


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
