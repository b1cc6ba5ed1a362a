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

import frd_train
from inference.fitting import Recording
from inference.frd.offline import score_snippet_videos
from inference.frd.predictor import load_snippet_predictor
from inference.frd.stored import stored_features
from pre_process import extract_features, prepare_dataset
from pre_process.features.build import build_backbone
from pre_process.preparation.unlabelled import describe_videos, enough_epochs, unlabelled_videos
from utils.config.load import load_config
from utils.config.named_files import options_that_name
from utils.console import echo, finite, setup_logging
from utils.errors import exit_on_user_error
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
    found = [
        f"frd.num_epochs={enough_epochs(config.frd, snippets)}",
        f"model.feature_size={backbone.feature_size}",
    ]
    if any(entry.kind == "video" for entry in entries):  # folders of images tell no rate
        found.append(f"data.fps={sum(rates) / len(rates):.6g}")
    command = ["--cfg_file", arguments.cfg_file, "--set", *named, *found, *arguments.set]
    echo(f"2 of 4: features of the snippets ({config.pre_process.features.backend})")
    extract_features.main([*command, "--split", "training"])
    echo("3 of 4: training of FRD-UVAD, with a diagnosis before and after it (docs/frd.md)")
    frd_train.main(command)
    echo("4 of 4: scores and alarms of these videos")
    path = config.stage_folder("frd") / "last.pth"
    overrides = shlex.split(options_that_name(config))[1:]
    overrides += [each for each in arguments.set if each.startswith(("alarms.", "eval.", "run."))]
    predictor = load_snippet_predictor(path, overrides, "auto", None)
    recordings = [Recording(*pair) for pair in zip(entries, rates, strict=True)]
    sources = [entry.source for entry in entries]
    with claimed_folder(path.parent / "videos", overwrite=True, sources=sources):
        score_snippet_videos(
            predictor, recordings, arguments.threshold, path.parent / "videos", arguments.name,
            not arguments.no_video, backbone_of=stored_features(config.data.folder),
        )  # fmt: skip
    echo(f"look at the highest alarms before you trust them: {path.parent / 'videos/report.html'}")
    model, options = config.stage_folder("frd").parent, options_that_name(config)
    echo(f"done; for new videos: python infer.py --model {model} --source NEW_VIDEO.mp4{options}")


if __name__ == "__main__":
    main()
