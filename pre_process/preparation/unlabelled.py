"""Videos that may hold anomalies anywhere: what there is, and whether that is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datasets.manifest import VideoEntry, load_dataset
from datasets.rates import frame_rate
from pre_process.preparation.survey import Survey
from utils.config.frd import FeatureDataConfig, FRDStageConfig
from utils.console import echo, format_table
from utils.errors import UserError

FEWEST_SNIPPETS, ENOUGH_MINUTES = 32, 10.0
FEWEST_STEPS = 180  # as many as on PETS 2009 (docs/results_frd.md)
SAME_RATE = 1.1  # highest by lowest


def unlabelled_videos(data: FeatureDataConfig) -> tuple[list[VideoEntry], list[float]]:
    """The videos of a prepared data set with their frames per second.

    Raises:
        UserError: the folder was split into training and test videos.
    """
    dataset = load_dataset(data.folder)
    if dataset.videos("testing"):
        raise UserError(
            f"{data.folder}: training and test videos lie apart in that folder, but this command "
            "learns from the videos that it scores; name the folder of the videos themselves and "
            "another --name"
        )
    entries = dataset.videos("training")
    return entries, [frame_rate(entry, data.fps) for entry in entries]


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
    echo(
        f"{found.minutes:.3g} minutes, {snippets} snippets of {frames_per_snippet} frames "
        f"({frames_per_snippet / max(rates):.2g} s): each gets one score"
    )
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


def enough_epochs(settings: FRDStageConfig, snippets: int) -> int:
    """The configured number, or so many that few snippets are trained on for long enough."""
    steps = math.ceil(snippets / settings.batch_size)
    return max(settings.num_epochs, math.ceil(FEWEST_STEPS / steps))
