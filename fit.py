"""From a folder of normal videos to a model that watches: prepare, extract, train, calibrate.

Every step goes on where it was stopped; type the same command again. --quick trains no network and
takes about as long as the extraction; without it the networks are trained, too.

python fit.py --normal videos/yard --name yard --quick
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import density_fit
import finetune
import ml_memAE_sc_train
import train
from engine.budget import density_seconds, planned_epochs, seconds_per_step, stage_seconds
from evaluation.calibration import expected
from pre_process import extract_samples, prepare_dataset
from pre_process.preparation.survey import Survey, survey
from pre_process.work_arguments import add_size_argument, open_dataset
from utils.checkpoint import load_finished
from utils.config.load import load_config
from utils.config.named_files import options_that_name
from utils.console import duration, echo, positive, setup_logging
from utils.errors import exit_on_user_error
from utils.progress import Step, run_steps
from utils.runtime import pick_device

TRAINING = {"ml_memae_sc": ml_memAE_sc_train, "cvae": train, "finetune": finetune}
QUICK = ("eval.w_flow=0", "eval.w_frame=0")  # there are no networks


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--normal", required=True, type=Path, help="folder of videos in which nothing is wrong")
    add("--name", required=True, help="of the model: runs/NAME, data/NAME")
    how = parser.add_mutually_exclusive_group().add_argument
    how("--quick", action="store_true", help="densities alone, no network is trained")
    how("--minutes", type=positive, help="train the networks for about so long")
    add_size_argument(parser)
    add("--cfg_file", default="cfgs/custom.yaml", help="default: %(default)s")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override any key, for example --set pre_process.boxes.min_area=400")  # fmt: skip
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Make a model of one's own videos."""
    arguments = parse_arguments(argv)
    setup_logging()
    chosen = [f"data.name={arguments.name}", f"run.name={arguments.name}", *arguments.set]
    chosen += QUICK if arguments.quick else ()
    config = load_config(arguments.cfg_file, chosen)
    echo("1 of 3: the videos" if arguments.quick else "1 of 5: the videos")
    output = ["--output", str(config.data.folder)]
    source = ["--name", arguments.name, "--source", str(arguments.normal)]
    prepare_dataset.main([*source, "--allow_short", *output])  # normal video needs no labels
    entries = open_dataset(config.data.folder, arguments.max_side).videos("training")
    found = survey(entries, config.pre_process, config.data.fps)
    echo(found.describe())
    chosen.append(f"data.fps={sum(found.fps) / len(found.fps):.6g}")
    steps = _plan(arguments, chosen, found)
    echo(f"all of it will take about {duration(sum(step.seconds for step in steps))}; what is done "
         "when it is stopped is not done again")  # fmt: skip
    run_steps(steps, first=2)
    _conclude(config, "density" if arguments.quick else "finetune")


def _plan(arguments: argparse.Namespace, chosen: list[str], found: Survey) -> list[Step]:
    """What is to be done after the videos are known, and how long it will take."""
    config = load_config(arguments.cfg_file, chosen)
    device = pick_device(config.run.device)
    cubes = max(1, round(found.cubes * (1 - config.data.calibration_share)))
    seconds = {}
    if not arguments.quick:
        pace = seconds_per_step(config, device)
        if arguments.minutes is not None:
            epochs = planned_epochs(config, pace, cubes, arguments.minutes)
            echo(f"training for about {arguments.minutes:g} minutes: {epochs} epochs")
            chosen += [f"{stage}.num_epochs={count}" for stage, count in epochs.items()]
            config = load_config(arguments.cfg_file, chosen)
        seconds = stage_seconds(config, pace, cubes)
    command = ["--cfg_file", arguments.cfg_file, "--set", *chosen]

    def step(name: str, seconds: float, script: Any) -> Step:
        return Step(name, seconds, lambda: script.main(command))

    steps = [step("boxes, flow, cubes", found.extraction_seconds, extract_samples)]
    if arguments.quick:
        expected = density_seconds(config, device, found.cubes)
        return [*steps, step("densities and threshold", expected, density_fit)]
    return steps + [step(stage, seconds[stage], TRAINING[stage]) for stage in TRAINING]


def _conclude(config: Any, stage: str) -> None:
    path = config.stage_folder(stage) / "last.pth"
    checkpoint = load_finished(path)
    threshold, fps = checkpoint["threshold"], checkpoint["config"]["data"]["fps"]
    if threshold is None:
        echo("no alarm threshold could be calibrated; pass --threshold VALUE to infer.py")
    else:
        rates = expected(checkpoint["calibration"], threshold, fps)
        echo(f"alarm threshold {threshold:.3g}: {rates.describe()}")
    model, options = path.parent.parent, options_that_name(config)
    echo(f"done; now: python infer.py --model {model} --source NEW_VIDEO.mp4{options}")


if __name__ == "__main__":
    main()
