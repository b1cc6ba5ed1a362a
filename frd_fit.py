"""From a folder of unlabelled videos to a model, scores, alarms and a report (FRD-UVAD).

No normal video and no label is needed: anomalies may be anywhere in the videos, as long as they are
the rarer. Every step goes on where it was stopped; type the same command again.

python frd_fit.py --videos videos/yard --name yard
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import frd_train
from datasets.manifest import VideoEntry, load_dataset
from datasets.rates import frame_rate
from inference.frd.offline import score_snippet_videos
from inference.frd.predictor import load_snippet_predictor
from inference.frd.stored import stored_features
from pre_process import extract_features, prepare_dataset
from pre_process.preparation.survey import Survey
from utils.config.load import load_config
from utils.config.named_files import options_that_name
from utils.console import echo, finite, format_table, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.run_folder import claimed_folder

FEWEST_SNIPPETS, ENOUGH_MINUTES = 32, 10.0
FEWEST_STEPS = 180  # as many as on PETS 2009 (docs/results_frd.md)
SAME_RATE = 1.1  # highest by lowest


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--videos", required=True, type=Path, help="folder of videos, or of folders of frames")
    add("--name", required=True, help="of the model: runs/NAME, data/NAME")
    add("--threshold", type=finite, help="alarm from this score on, between 0 and 1; default: a "
        "deviation above the mean score of these videos")  # fmt: skip
    add("--no_video", action="store_true", help="write no annotated videos")
    add("--cfg_file", default="cfgs/frd_custom.yaml", help="default: %(default)s")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override any key, for example --set frd.num_epochs=40")  # fmt: skip
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Make a model of one's own videos and score them with it."""
    arguments = parse_arguments(argv)
    setup_logging()
    named = [f"data.name={arguments.name}", f"run.name={arguments.name}"]
    config = load_config(arguments.cfg_file, [*named, *arguments.set], system="frd")
    echo("1 of 4: the videos")
    output = ["--output", str(config.data.folder)]
    prepare_dataset.main(["--name", arguments.name, "--source", str(arguments.videos), *output])
    entries = load_dataset(config.data.folder).videos("training")
    rates = [frame_rate(entry, config.data.fps) for entry in entries]
    snippets = describe_videos(entries, rates, config.data.frames_per_snippet)
    found = [
        f"data.fps={sum(rates) / len(rates):.6g}",
        f"frd.num_epochs={epochs(config, snippets)}",
    ]
    command = ["--cfg_file", arguments.cfg_file, "--set", *named, *found, *arguments.set]
    echo(f"2 of 4: features ({config.pre_process.features.backend})")
    extract_features.main([*command, "--split", "training"])
    echo("3 of 4: frd")
    frd_train.main(command)
    echo("4 of 4: scores and alarms of these videos")
    path = config.stage_folder("frd") / "last.pth"
    weights = shlex.split(options_that_name(config))[1:]
    predictor = load_snippet_predictor(path, weights, "auto", None)
    with claimed_folder(path.parent / "videos", overwrite=True):
        score_snippet_videos(
            predictor, entries, rates, arguments.threshold, path.parent / "videos", arguments.name,
            not arguments.no_video, stored_features(config.data.folder),
        )  # fmt: skip
    model, options = config.stage_folder("frd").parent, options_that_name(config)
    echo(f"done; for new videos: python infer.py --model {model} --source NEW_VIDEO.mp4{options}")


def describe_videos(
    entries: Sequence[VideoEntry], rates: Sequence[float], frames_per_snippet: int
) -> int:
    """Print what there is, and what of it will cost accuracy; give the number of snippets.

    Raises:
        UserError: too little video to tell the rare from the usual.
    """
    found = Survey(entries, rates, 0.0, 0.0)
    echo(format_table(("video", "minutes", "frames", "size", "frames/s"), found.table()))
    snippets = sum(max(1, entry.num_frames // frames_per_snippet) for entry in entries)
    echo(f"{found.minutes:.3g} minutes, {snippets} snippets of {frames_per_snippet} frames")
    if snippets < FEWEST_SNIPPETS:
        raise UserError(
            f"{snippets} snippets of {frames_per_snippet} frames are too few to tell the rare from "
            f"the usual: {FEWEST_SNIPPETS} are needed, and {ENOUGH_MINUTES:.0f} minutes of video "
            "better; add videos"
        )
    if found.minutes < ENOUGH_MINUTES:
        echo(
            f"  note: {found.minutes:.2g} minutes: what is usual but seldom will score high; take "
            f"{ENOUGH_MINUTES:.0f} minutes or more"
        )
    if max(rates) > SAME_RATE * min(rates):
        echo(
            f"  note: videos of {min(rates):.4g} to {max(rates):.4g} frames per second: the same "
            "walk is faster where frames are fewer; use videos of one rate"
        )
    return snippets


def epochs(config: Any, snippets: int) -> int:
    """The configured number, or so many that few snippets are trained on for long enough."""
    steps = math.ceil(snippets / config.frd.batch_size)
    return max(config.frd.num_epochs, math.ceil(FEWEST_STEPS / steps))


if __name__ == "__main__":
    main()
