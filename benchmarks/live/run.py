"""Watching at 640x480 with six boxes: a file, a camera at 25 frames a second, a page with viewers.

A small model of ``cfgs/custom.yaml`` is trained first (two minutes); the camera and the viewers are
processes of their own. Processor time is that of ``infer.py`` alone, all of its threads together,
so it says what a frame costs on a machine with other work, too.

python -m benchmarks.live.run --folder runs/live --output live.json
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from benchmarks.live.camera import camera
from benchmarks.live.programs import LiveRun, offline
from benchmarks.live.scene import train_model, write_street
from utils.console import echo, format_table
from utils.errors import exit_on_user_error
from utils.files import write_json
from utils.runtime import provenance

_SHORT, _LONG = 200, 1400  # frames of the two files
_HEADER = ("viewers", "frames", "dropped", "frames/s", "p50 ms", "p99 ms", "processor ms a frame",
           "MiB at half", "at end", "memory", "pictures/s each")  # fmt: skip


def measure_file(folder: Path, model: Path) -> dict[str, Any]:
    """Score two files of the street; says what a frame took."""
    lengths = _SHORT, _LONG
    videos = [
        write_street(folder / "videos" / f"street-{length}.mp4", length, with_visitor=True)
        for length in lengths
    ]
    found = offline(model, (videos[0], videos[1]), lengths)
    echo(
        f"file: {found['fps']:.1f} frames/s, {found['ms']:.1f} ms a frame, "
        f"processor {found['processor_ms']:.1f} ms"
    )
    return found


def measure_camera(
    folder: Path, model: Path, counts: list[int], seconds: float, extra: list[str]
) -> list[dict[str, Any]]:
    """A live run for each number of viewers."""
    runs = []
    for count in counts:
        output = folder / "live" / str(count)
        with camera() as address, LiveRun(model, address, output, extra) as live:
            runs.append(live.measure(count, seconds) | {"over": live.end()})
        echo(f"{count} viewers: {runs[-1]['over']}")
    return runs


def as_row(run: dict[str, Any]) -> list[str]:
    """A line of the table."""
    viewed, memory = run["viewed"], run["memory"]
    return [
        f"{run['viewers']}",
        f"{run['frames']}",
        f"{run['dropped']}",
        f"{run['fps']:.1f}",
        f"{run['latency_p50_ms']:.0f}",
        f"{run['latency_p99_ms']:.0f}",
        f"{run['processor_ms']:.1f}",
        f"{memory['rss_half_mib']:.0f}",
        f"{memory['rss_end_mib']:.0f}",
        f"{memory['verdict']}",
        f"{viewed['pictures'] / viewed['seconds']:.1f}" if viewed else "-",
    ]


@exit_on_user_error
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="for model and videos; kept, used again")
    add("--model", type=Path, help="a run's folder; default: one is trained in --folder")
    add("--cfg_file", default="cfgs/custom.yaml", help="default: %(default)s")
    add("--viewers", type=int, nargs="*", default=[0, 20], help="a live run for each")
    add("--seconds", type=float, default=120.0, help="of each live run")
    add("--no_file", action="store_true", help="only live runs")
    add("--infer", default="", help="more options of infer.py --live, in quotes")
    add("--output", type=Path, help="for all numbers, as JSON")
    options = parser.parse_args()
    folder = options.folder.absolute()
    model = options.model or train_model(folder, options.cfg_file)
    result: dict[str, Any] = {"provenance": provenance()}
    if not options.no_file:
        result["file"] = measure_file(folder, model)
    extra = shlex.split(options.infer)
    result["live"] = measure_camera(folder, model, options.viewers, options.seconds, extra)
    echo(format_table(_HEADER, [as_row(run) for run in result["live"]]))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
