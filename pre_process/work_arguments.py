"""The arguments that every extraction script has: who does the work, and what is done again."""

from __future__ import annotations

import argparse
import os

from utils.errors import UserError


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
