"""The speed of a GPU, in one call of at most 8 minutes that installs and builds nothing.

First its results are checked against the CPU's on fresh random inputs, then it is timed: steps of
the three stages (a plain implementation beside ours), scoring, optical flow, FRD-UVAD at
UCF-Crime's shape, beside the rates of a large product and a large copy. What the machine lacks and
what there is no time for is named and left out. Printed as a table and as JSON; exit code 1 where a
check fails.

python -m benchmarks.gpu --output benchmarks/results/gpu.json
python -m benchmarks.gpu --device cpu --quick
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.on_gpu.checks import all_checks, check_no_waiting
from benchmarks.on_gpu.networks import SMALL, Sizes, stage_step
from benchmarks.on_gpu.rows import PARTS, Row
from utils.console import echo, format_table

STARTED = time.perf_counter()
BUDGET = 450.0  # seconds from the start, after which what still runs is ended


def main(argv: list[str] | None = None) -> int:
    """Check, measure, print; returns the exit code."""
    options = _arguments(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        echo("there is no GPU that torch can use here; see --device cpu --quick")
        return 2
    sizes = SMALL if options.quick else Sizes()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3))
    result: dict[str, Any] = {"machine": _machine(device), "seed": seed, "left_out": {}}
    left_out, end = result["left_out"], STARTED + options.budget
    result["checks"] = collect(left_out, "checks", end, lambda: _checks(sizes, device, seed))
    rows: list[Row] = []
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            rows += collect(left_out, name, end, partial(part, sizes, device, list(rows)))
            echo(f"{name}: {time.perf_counter() - STARTED:.0f} s")
    result["rows"] = [row._asdict() for row in rows]
    result["seconds"] = round(time.perf_counter() - STARTED, 1)
    _show(result)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    good = "checks" not in result["left_out"] and all(each["good"] for each in result["checks"])
    return 0 if good else 1


def _checks(sizes: Sizes, device: torch.device, seed: int) -> Iterable[dict[str, Any]]:
    yield from all_checks(sizes, device, seed)
    for stage in sizes.batches:
        yield check_no_waiting(stage_step(sizes, stage, device, "bf16"), f"{stage} step")


class TimeIsUp(BaseException):
    """Not an ``Exception``, for a compiler catches those."""


def collect(
    left_out: dict[str, str], name: str, end: float, work: Callable[[], Iterable[Any]]
) -> list[Any]:
    """What ``work`` gives before it fails or time is up; why it ended so goes to ``left_out``.

    Args:
        name: of this part.
        end: of the time, by ``time.perf_counter``.
    """
    given = []
    try:
        with _interrupted_at(end):
            for each in work():
                given.append(each)
    except TimeIsUp:
        left_out[name] = f"time was up after {len(given)} results"
    except Exception as error:  # a part that fails must not cost the others their turn
        reason = str(error).strip().splitlines() or [""]
        left_out[name] = f"{type(error).__name__}: {reason[0]}"
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return given


@contextmanager
def _interrupted_at(end: float) -> Iterator[None]:
    """Raise ``TimeIsUp`` inside once ``end`` has come, wherever the program is then."""

    def interrupt(*_: Any) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(end - time.perf_counter(), 1e-6))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _machine(device: torch.device) -> dict[str, Any]:
    about: dict[str, Any] = {"torch": str(torch.__version__), "device": str(device)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about["name"] = properties.name
        about["memory_gib"] = round(properties.total_memory / 2**30, 1)
        about["cuda"], about["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    return about


def _show(result: dict[str, Any]) -> None:
    echo(json.dumps(result))
    checks = [
        [each["name"], f"{each['difference']:.2g}", f"{each['limit']:g}", _said(each["good"])]
        for each in result["checks"]
    ]
    echo(format_table(["check against the CPU", "difference", "limit", ""], checks))
    header = ["", "precision", "plain", "ours", "unit", "ratio", "note"]
    rows = [Row(**row) for row in result["rows"]]
    cells = [
        [row.name, row.precision, _short(row.plain), _short(row.ours), row.unit, _short(row.ratio),
         row.note]
        for row in rows
    ]  # fmt: skip
    echo(format_table(header, cells))
    for name, reason in result["left_out"].items():
        echo(f"left out: {name}: {reason}")


def _said(good: bool) -> str:
    return "good" if good else "WRONG"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="tiny networks, single repeats")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts")
    parser.add_argument("--seed", type=int, help="of the checks' inputs (default: a fresh one)")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds, then it ends")
    parser.add_argument("--output", type=Path, help="JSON file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
