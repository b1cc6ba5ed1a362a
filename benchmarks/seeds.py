"""Mean and deviation over runs that differ in their seed.

python -m benchmarks.seeds runs/toy/finetune runs/toy_1/finetune runs/toy_2/finetune
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.console import echo, format_table
from utils.errors import UserError, exit_on_user_error
from utils.files import read_json


def read_metrics(run: Path) -> dict[str, Any]:
    """The ``metrics.json`` of a run: the file itself, its folder, or the stage's folder.

    Raises:
        UserError: there is none; the run was not evaluated.
    """
    for path in (run, run / "metrics.json", run / "eval" / "metrics.json"):
        if path.is_file():
            return read_json(path)
    raise UserError(f"{run}: no metrics.json there; run eval.py on the run's checkpoint first")


def summarise(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row a score: micro AUC in % of each run, their mean and sample deviation.

    Raises:
        UserError: the runs do not have the same scores.
    """
    names = list(runs[0]["branches"])
    if any(list(run["branches"]) != names for run in runs):
        raise UserError("the runs have different scores; compare runs of one stage and one system")
    rows = []
    for name in names:
        values = [100 * run["branches"][name]["auc_micro"] for run in runs]
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        mean = f"{statistics.fmean(values):.2f}"
        rows.append([name, *[f"{value:.2f}" for value in values], mean, spread])
    return rows


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Print one table over all runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, help="evaluated stages, or metrics.json files"
    )
    arguments = parser.parse_args(argv)
    runs = [read_metrics(path) for path in arguments.runs]
    for path, run in zip(arguments.runs, runs, strict=True):
        echo(f"{path}: seed {run['provenance']['seed']}, {run['provenance']['checkpoint']}")
    seeds = [f"seed {run['provenance']['seed']}" for run in runs]
    echo(format_table(["% micro AUC", *seeds, "mean", "deviation"], summarise(runs)))


if __name__ == "__main__":
    main()
