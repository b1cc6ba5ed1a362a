"""Extract snippet features from all videos of a data set, for FRD-UVAD.

Example: python pre_process/extract_features.py --cfg_file cfgs/frd_avenue.yaml --workers 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

if not __package__:
    import _path  # noqa: F401

from datasets.features.settings import feature_settings
from datasets.manifest import SPLITS, load_dataset
from pre_process.cluster import run_over_videos
from pre_process.features.extraction import FeatureJob, find_unfinished
from pre_process.work_arguments import add_work_arguments, pick_workers
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, setup_logging
from utils.errors import exit_on_user_error
from utils.files import require_free_space

BYTES_PER_CROP = 4 * 2048  # the largest features


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, help="one split only (default: both)")
    add_work_arguments(parser)
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    arguments = parse_arguments(argv)
    setup_logging()
    config = load_config(arguments.cfg_file, arguments.set, system="frd")
    dataset = load_dataset(config.data.folder)
    entries = [entry for entry in dataset.entries if arguments.split in (None, entry.split)]
    job = FeatureJob(config.pre_process.features, config.data.frames_per_snippet, dataset.root)
    settings = feature_settings(job.config, job.frames)
    unfinished = find_unfinished(dataset.root, entries, settings, arguments.overwrite)
    workers = pick_workers(arguments.workers, job.config.backend != "hof")
    echo(
        f"{dataset.root}: {len(entries)} videos, {len(unfinished)} to extract with "
        f"{job.config.backend}, {job.config.crops} crop(s), {workers} process(es)"
    )
    snippets = sum(job.num_snippets(entry) for entry in unfinished)
    needed = snippets * job.config.crops * BYTES_PER_CROP
    require_free_space(dataset.root, needed, "feature extraction")
    started = time.perf_counter()
    frames = run_over_videos(job, unfinished, workers, "snippets", arguments.scheduler)
    seconds = time.perf_counter() - started
    if unfinished:
        echo(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.0f}/s")
    echo(f"features in {dataset.root / 'features'}")


if __name__ == "__main__":
    main()
