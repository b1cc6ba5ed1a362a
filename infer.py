"""Score any video with a trained checkpoint: scores, alarms, a report, annotated videos.

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

from inference.command_line import (
    fitting,
    listeners,
    page,
    parse_arguments,
    settings_of_run,
)
from inference.faults import end_with_faults
from inference.fitting import fit_recordings
from inference.frd.offline import score_snippet_videos
from inference.frd.predictor import is_snippet_checkpoint, load_snippet_predictor
from inference.live.capture import open_live
from inference.live.loop import watch_live
from inference.live.writer import LiveSettings
from inference.offline import score_videos
from inference.predictor import Predictor, load_predictor
from inference.results.finished import FinishedVideos
from inference.sources import find_entries, is_stream, source_name
from utils.checkpoint import find_checkpoint, load_tensors
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.run_folder import claimed_folder


def run_live(predictor: Any, arguments: argparse.Namespace, name: str) -> None:
    """Watch a camera, stream or video as it comes."""
    output = (
        arguments.output or arguments.model.parent / f"live/{name}-{time.strftime('%F-%H%M%S')}"
    )
    settings = LiveSettings(
        not arguments.no_video, 60 * arguments.part_minutes, arguments.keep_parts,
        alarms=predictor.config.alarms,
        listeners=listeners(arguments),
    )  # fmt: skip
    predictor.warm_up()
    with page(arguments, output, name) as state:
        frames = open_live(
            arguments.source, arguments.fps, predictor.config.data.fps,
            arguments.max_delay, arguments.give_up_after, fitting(predictor.checkpoint, arguments),
        )  # fmt: skip
        played = [] if is_stream(arguments.source) else [Path(arguments.source)]
        with claimed_folder(output, arguments.overwrite, sources=played):
            echo(f"{name}: {frames.fps:g} frames per second; Ctrl-C ends it; see {output}")
            settings = replace(settings, state=state)
            watch_live(predictor, frames, arguments.alarm_level, output, name, settings)


def run_offline(predictor: Any, arguments: argparse.Namespace, name: str) -> None:
    """Score a video or a folder of them; ends with code 3 where one of several could not be."""
    output = arguments.output or arguments.model.parent / f"infer/{name}"
    faults: list[str] = []
    entries = find_entries(arguments.source, faults)
    fitted = fitting(predictor.checkpoint, arguments)
    default_fps = predictor.config.data.fps
    recordings = fit_recordings(entries, arguments.fps, default_fps, fitted, faults)
    finished = FinishedVideos(output, settings_of_run(predictor.config, arguments))
    goes_on = finished.is_this_run()
    job = recordings, arguments.alarm_level, output, name, not arguments.no_video
    sources = [each.entry.source for each in recordings]
    with claimed_folder(output, arguments.overwrite, goes_on, sources):
        rate = recordings[0].fps
        echo(f"{arguments.source}: {len(recordings)} video(s), {rate:g} frames per second")
        if goes_on:
            echo("an interrupted run goes on: its finished videos are not scored again")
        score = score_videos if isinstance(predictor, Predictor) else score_snippet_videos
        score(predictor, *job, faults, finished)
    end_with_faults(faults)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Score a source."""
    arguments = parse_arguments(argv, __doc__)
    setup_logging()
    arguments.model = find_checkpoint(arguments.model)
    path, name = arguments.model, source_name(arguments.source)
    ways = arguments.set, arguments.backend, arguments.device
    content = load_tensors(path)
    if is_snippet_checkpoint(content):
        if arguments.max_side:
            raise UserError("--max_side: FRD-UVAD makes its pictures small itself; leave it out")
        predictor: Any = load_snippet_predictor(path, *ways, content)
    else:
        predictor = load_predictor(path, *ways, content)
    if arguments.live:
        run_live(predictor, arguments, name)
    else:
        run_offline(predictor, arguments, name)


if __name__ == "__main__":
    main()
