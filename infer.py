"""Score any video with a trained checkpoint: scores, alarms, a report, annotated videos (HF2-VAD).

The source is a video file, a folder of videos or of frames or, with --live, a camera's number or a
stream's address.

python infer.py --model runs/ped2/finetune/last.pth --source street.mp4
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.scoring.build import BACKENDS
from inference.command_line import (
    add_live_arguments,
    add_page_arguments,
    add_threshold_arguments,
    page,
    require_live,
)
from inference.live.capture import open_live
from inference.live.loop import warm_up, watch_live
from inference.live.notify import listeners
from inference.live.writer import LiveSettings
from inference.offline import score_videos
from inference.predictor import Predictor, load_predictor
from inference.snippets import (
    is_snippet_checkpoint,
    load_snippet_predictor,
    score_snippet_videos,
)
from inference.sources import find_entries, frame_rate, source_name
from utils.checkpoint import find_checkpoint
from utils.console import echo, finite_positive, setup_logging
from utils.errors import exit_on_user_error
from utils.run_folder import claimed_folder


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, help="a stage's last.pth, or a run's folder")
    add("--source", required=True, help="video, folder, camera number or stream address")
    add("--output", type=Path, help="folder of the results; default: infer/NAME beside the model")
    add("--overwrite", action="store_true", help="replace the results of an earlier run there")
    add("--backend", choices=BACKENDS, default="auto",
        help="auto: openvino on a CPU, torch on a GPU; onnx: see export_onnx.py")  # fmt: skip
    add("--device", help="auto, cpu, cuda or cuda:N; default: as in the checkpoint")
    add("--fps", type=finite_positive, help="frames per second; default: as the source tells")
    add("--no_video", action="store_true", help="write no annotated video")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="override a key of data, run, eval, alarms, density or pre_process")  # fmt: skip
    add_threshold_arguments(parser)
    add_live_arguments(parser)
    add_page_arguments(parser)
    return parser.parse_args(argv)


def run_live(predictor: Predictor, arguments: argparse.Namespace, name: str) -> None:
    """Watch a camera, stream or video as it comes."""
    output = (
        arguments.output or arguments.model.parent / f"live/{name}-{time.strftime('%F-%H%M%S')}"
    )
    settings = LiveSettings(
        not arguments.no_video, 60 * arguments.part_minutes, arguments.keep_parts,
        alarms=predictor.config.alarms,
        listeners=listeners(arguments.webhook, arguments.on_alarm),
    )  # fmt: skip
    warm_up(predictor)
    with page(arguments, output, name) as state:
        frames = open_live(
            arguments.source, arguments.fps, predictor.config.data.fps,
            arguments.max_delay, arguments.give_up_after,
        )  # fmt: skip
        with claimed_folder(output, arguments.overwrite):
            echo(f"{name}: {frames.fps:g} frames per second; Ctrl-C ends it; see {output}")
            settings = replace(settings, state=state)
            watch_live(predictor, frames, arguments.wanted, output, name, settings)


def run_offline(predictor: Any, arguments: argparse.Namespace, name: str, score: Any) -> None:
    """Score a video or a folder of them with ``score``, which fits the predictor."""
    output = arguments.output or arguments.model.parent / f"infer/{name}"
    entries = find_entries(arguments.source)
    rates = [arguments.fps or frame_rate(each, predictor.config.data.fps) for each in entries]
    with claimed_folder(output, arguments.overwrite):
        echo(f"{arguments.source}: {len(entries)} video(s), {rates[0]:g} frames per second")
        score(predictor, entries, rates, arguments.wanted, output, name, not arguments.no_video)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Score a source."""
    arguments = parse_arguments(argv)
    setup_logging()
    require_live(arguments)
    arguments.model = find_checkpoint(arguments.model)
    path, name = arguments.model, source_name(arguments.source)
    ways = arguments.set, arguments.backend, arguments.device
    if is_snippet_checkpoint(path):
        snippets = load_snippet_predictor(path, *ways, arguments.live)
        run_offline(snippets, arguments, name, score_snippet_videos)
        return
    predictor = load_predictor(path, *ways)
    if arguments.live:
        run_live(predictor, arguments, name)
    else:
        run_offline(predictor, arguments, name, score_videos)


if __name__ == "__main__":
    main()
