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
from engine.budget import epochs_within, seconds_per_step, stage_seconds
from evaluation.calibration import expected
from pre_process import extract_samples, prepare_dataset
from pre_process.preparation.survey import Survey, survey
from pre_process.work_arguments import add_size_argument, open_dataset
from utils.checkpoint import load_finished
from utils.config.load import load_config
from utils.config.named_files import options_that_name
from utils.console import duration, echo, positive, setup_logging
from utils.errors import exit_on_user_error
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
    steps = 3 if arguments.quick else 5
    echo(f"1 of {steps}: the videos")
    output = ["--output", str(config.data.folder)]
    source = ["--name", arguments.name, "--source", str(arguments.normal)]
    prepare_dataset.main([*source, "--allow_short", *output])  # normal video needs no labels
    entries = open_dataset(config.data.folder, arguments.max_side).videos("training")
    found = survey(entries, config.pre_process, config.data.fps)
    echo(found.describe())
    chosen.append(f"data.fps={sum(found.fps) / len(found.fps):.6g}")
    if not arguments.quick:
        chosen += _plan(config, found, arguments.minutes)
    command = ["--cfg_file", arguments.cfg_file, "--set", *chosen]
    echo(f"2 of {steps}: boxes, flow, cubes")
    extract_samples.main(command)
    if arguments.quick:
        echo(f"3 of {steps}: densities and threshold")
        density_fit.main(command)
    else:
        for number, (stage, script) in enumerate(TRAINING.items(), 3):
            echo(f"{number} of {steps}: {stage}")
            script.main(command)
    _conclude(config, "density" if arguments.quick else "finetune")


def _plan(config: Any, found: Survey, minutes: float | None) -> list[str]:
    """Overrides for the epochs that fit into the time; says how long training will take."""
    cubes = max(1, round(found.cubes * (1 - config.data.calibration_share)))
    steps = seconds_per_step(config, pick_device(config.run.device))
    if minutes is None:
        seconds = sum(stage_seconds(config, steps, cubes).values())
        echo(f"training will take about {duration(seconds)}; --minutes M makes it shorter")
        return []
    epochs = epochs_within(config, steps, cubes, 60 * minutes)
    echo(f"training for about {minutes:g} minutes: {epochs} epochs")
    return [f"{stage}.num_epochs={count}" for stage, count in epochs.items()]


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
