"""Do memory, open files or threads grow in a long run? Live inference and training on made-up data.

python -m benchmarks.long_run --frames 100000 --epochs 20 --output long_run.json
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import long_tasks
from benchmarks.process_watch import Sample
from utils.console import echo, format_table
from utils.errors import exit_on_user_error
from utils.files import write_json
from utils.runtime import provenance

HEADER = ["run", "amount", "seconds", "MiB at half", "at end", "growth", "files", "threads", ""]


def apart(task: Callable[..., Any], *arguments: Any) -> Any:
    """Do a task in a fresh process, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(task, *arguments).result()


def as_row(run: dict[str, Any]) -> list[str]:
    """A line of the table; growth is that of the second half."""
    per = f"{run['growth_per']:g} {run['unit']}".removeprefix("1 ")
    return [
        run["run"],
        f"{run['amount']:g} {run['unit']}",
        f"{run['seconds']:.0f}",
        f"{run['rss_half_mib']:.1f}",
        f"{run['rss_end_mib']:.1f}",
        f"{run['growth_kib']:+.1f} KiB / {per}",
        " to ".join(map(str, run["files"])),
        " to ".join(map(str, run["threads"])),
        run["verdict"],
    ]


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Run, print the table, write the samples; exit code 1 where something grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100_000, help="of live inference")
    parser.add_argument("--epochs", type=int, default=20, help="of training, each stage")
    parser.add_argument("--output", type=Path, default=Path("long_run.json"))
    options = parser.parse_args(argv)
    runs: list[dict[str, Any]] = []

    def run(task: Callable[..., Any], *arguments: Any) -> None:
        runs.append(apart(task, *arguments))
        about = {"sample": Sample._fields, "provenance": provenance(), "runs": runs}
        write_json(options.output, about)  # after each, so that a stop loses only the last

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        apart(long_tasks.prepare, folder, options.epochs)
        for stage in (*long_tasks.STAGES, "frd"):
            run(long_tasks.training, folder, stage)
        run(long_tasks.live, folder, options.frames)
    echo(format_table(HEADER, [as_row(run) for run in runs]))
    echo(f"samples: {options.output}")
    if any(run["verdict"] == "grows" for run in runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
