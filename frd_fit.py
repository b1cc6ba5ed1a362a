"""From a folder of unlabelled videos to a model, scores, alarms and a report (FRD-UVAD).

No normal video and no label is needed: anomalies may be anywhere in the videos, as long as they are
the rarer. Every step goes on where it was stopped; type the same command again.

python frd_fit.py --videos videos/yard --name yard
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import frd_train
from inference.fitting import Recording
from inference.frd.offline import score_snippet_videos
from inference.frd.pace import SnippetPace
from inference.frd.predictor import load_snippet_predictor
from inference.frd.stored import stored_features
from pre_process import extract_features, prepare_dataset
from pre_process.features.build import build_backbone
from pre_process.preparation.unlabelled import describe_videos, enough_epochs, unlabelled_videos
from utils.config.load import load_config
from utils.config.named_files import options_that_name
from utils.console import duration, echo, finite, setup_logging
from utils.errors import exit_on_user_error
from utils.progress import Step, run_steps
from utils.run_folder import claimed_folder


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--videos", required=True, type=Path, help="folder of videos, or of folders of frames")
    add("--name", required=True, help="of the model: runs/NAME, data/NAME")
    add("--threshold", type=finite, help="alarm from this score on, between 0 and 1; default: a "
        "standard deviation above the mean score of these videos")  # fmt: skip
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
    frames = config.data.frames_per_snippet
    backbone = build_backbone(config.pre_process.features, frames)  # its faults before any work
    echo("1 of 4: the videos")
    output = ["--output", str(config.data.folder)]
    prepare_dataset.main(["--name", arguments.name, "--source", str(arguments.videos), *output])
    entries, rates = unlabelled_videos(config.data)
    snippets = describe_videos(entries, rates, frames)
    epochs = enough_epochs(config.frd, snippets)
    found = [f"frd.num_epochs={epochs}", f"model.feature_size={backbone.feature_size}"]
    if any(entry.kind == "video" for entry in entries):  # folders of images tell no rate
        found.append(f"data.fps={sum(rates) / len(rates):.6g}")
    command = ["--cfg_file", arguments.cfg_file, "--set", *named, *found, *arguments.set]
    recordings = [Recording(*pair) for pair in zip(entries, rates, strict=True)]
    pace, kind = SnippetPace(config, backbone, entries), config.pre_process.features.backend
    steps = [
        Step(f"features of the snippets ({kind})", pace.features(),
             lambda: extract_features.main([*command, "--split", "training"])),
        Step("training of FRD-UVAD (its diagnosis: docs/frd.md)",
             pace.training(snippets, epochs), lambda: frd_train.main(command)),
        Step("scores and alarms of these videos", pace.scoring(not arguments.no_video),
             lambda: _score(arguments, config, recordings)),
    ]  # fmt: skip
    echo(f"all of it will take about {duration(sum(step.seconds for step in steps))}; what is done "
         "when it is stopped is not done again")  # fmt: skip
    run_steps(steps, first=2)
    model, options = config.stage_folder("frd").parent, options_that_name(config)
    echo(f"done; for new videos: python infer.py --model {model} --source NEW_VIDEO.mp4{options}")


def _score(arguments: argparse.Namespace, config: Any, recordings: Sequence[Recording]) -> None:
    """Scores, alarms and report of the videos that were trained on."""
    path = config.stage_folder("frd") / "last.pth"
    output = path.parent / "videos"
    overrides = shlex.split(options_that_name(config))[1:]
    overrides += [each for each in arguments.set if each.startswith(("alarms.", "eval.", "run."))]
    predictor = load_snippet_predictor(path, overrides, "auto", None)
    sources = [each.entry.source for each in recordings]
    with claimed_folder(output, overwrite=True, sources=sources):
        score_snippet_videos(
            predictor, recordings, arguments.threshold, output, arguments.name,
            not arguments.no_video, backbone_of=stored_features(config.data.folder),
        )  # fmt: skip
    echo(f"look at the highest alarms before you trust them: {output / 'report.html'}")


if __name__ == "__main__":
    main()
