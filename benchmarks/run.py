"""The speed table: a plain implementation and ours, in turns, on this machine.

Both sides have a process of their own and do the same work with the same weights; a row is a ratio
of medians. Also written as JSON, with machine, versions and matrix-product rates.

python -m benchmarks.run --all --output benchmarks/results/speed.json
python -m benchmarks.run --markdown benchmarks/results/speed.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.rows import Costs, Row, as_json, as_table, median_of
from benchmarks.worker import ROOT, Side
from utils.console import echo, format_table
from utils.errors import UserError, exit_on_user_error
from utils.files import read_json, write_json

STAGES = ("stage1", "stage2", "stage3")
PARTS = ("steps", "scoring", "epochs", "loader", "extraction")
SIZES = {False: {"cubes": 8000, "frames": 200}, True: {"cubes": 800, "frames": 40}}
# The flow of the published figures took under 2.5 ms a frame, as the first of these; the second is
# what the configurations have.
FLOW_PRESETS = ("ultrafast", "medium")
OURS_ALONE = ("describe_normal", "reconstruct_flows")  # not done every epoch
LARGE = (856, 480, "ultrafast")


def measure(part: str, costs: Costs) -> list[Row]:
    """The rows of one part."""
    if part == "steps":
        return [costs.seconds("step", stage) for stage in STAGES]
    if part == "scoring":
        return [costs.seconds("score", what) for what in ("stage1", "full")]
    if part == "epochs":
        return [costs.epoch(stage) for stage in STAGES]
    if part == "loader":
        return [costs.rate("load", "loader", "cubes/s")]
    speeds = [
        costs.rate("extract", f"extract 360x240, {preset}", "frames/s", 360, 240, preset)
        for preset in FLOW_PRESETS
    ]
    return [*speeds, costs.disk(360, 240, FLOW_PRESETS[0]), costs.disk(*LARGE)]


def ask_in_turns(sides: dict[str, Side], repeats: int) -> Any:
    """A function that has both sides do a task ``repeats`` times, one after the other."""

    def ask(task: str, *arguments: Any) -> dict[str, dict[str, float]]:
        asked = {"ours": sides["ours"]} if task in OURS_ALONE else sides
        once = task == "extract" and tuple(arguments) == LARGE  # for its disk only
        results: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
        for _ in range(1 if once else repeats):
            for name, side in asked.items():
                results[name].append(side(task, *arguments))
        return {name: median_of(each) for name, each in results.items()}

    return ask


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure; returns what goes into the JSON file."""
    threads = options.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    machine = describe_machine(torch.device(options.device), threads)
    echo(f"{machine['processor']}, {threads} threads, {machine['matmul_gflops']} GFLOP/s")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        settings = {"device": options.device, "folder": folder, "threads": threads}
        settings |= {"sizes": SIZES[options.quick], "precision": options.precision}
        sides = {name: Side(name, settings) for name in ("plain", "ours")}
        costs = Costs(
            ask_in_turns(sides, 1 if options.quick else options.repeats), machine["matmul_gflops"]
        )
        rows: list[Row] = []
        for part in options.only or PARTS:
            rows += measure(part, costs)
            echo(f"{part}: done")
        flops = sides["ours"]("count_flops", "stage2")["flops"] if "step stage2" in costs.raw else 0
        for side in sides.values():
            side.close()
    machine["precision"] = options.precision
    result = {"machine": machine, "rows": as_json(rows), "raw": costs.raw, "flops_stage2": flops}
    if "step stage2" in costs.raw and options.precision == "fp32":
        step = costs.raw["step stage2"]["ours"]
        achieved = flops / step["seconds"] / 1e9
        result["share_of_peak_stage2"] = achieved / machine["matmul_gflops"]
        result["share_of_rate_stage2"] = achieved / step["matmul_gflops"]
    return result


def show(result: dict[str, Any], as_markdown: bool = False) -> None:
    """Print the table and what stands beside it."""
    header, cells = as_table([Row(**row) for row in result["rows"]])
    if as_markdown:
        for line in (header, ["---"] * len(header), *cells):
            echo(f"| {' | '.join(line)} |")
    else:
        echo(format_table(header, cells))
    if "share_of_peak_stage2" in result:
        best, now = result["share_of_peak_stage2"], result["share_of_rate_stage2"]
        echo(
            f"\nStage 2: {result['flops_stage2'] / 1e9:.0f} GFLOP a step, {best:.0%} of the best "
            f"matrix-product rate, {now:.0%} of the rate between the steps."
        )
    extraction = result["raw"].get("extract 360 240 ultrafast")
    if extraction:
        echo(f"Extraction: {extraction['ours']['peak_bytes'] / 2**20:.0f} MiB a worker at most.")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="all parts (the default)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts")
    parser.add_argument("--quick", action="store_true", help="small sets, one repeat: a trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32",
                        help="of our side's networks; the plain side is float32")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--folder", type=Path, help="for temporary files (2 GB)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks" / "results" / "speed.json"
    )
    parser.add_argument("--markdown", type=Path, help="print the table of this JSON file instead")
    return parser.parse_args()


@exit_on_user_error
def main() -> None:
    """Run the benchmark, or show an old result."""
    options = parse_arguments()
    if options.markdown:
        show(read_json(options.markdown), as_markdown=True)
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no GPU here; use --device cpu")
    result = run(options)
    show(result)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    echo(f"written: {options.output}")


if __name__ == "__main__":
    main()
