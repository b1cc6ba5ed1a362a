"""Detect foreground boxes in all videos of a data set and write them to data/NAME/boxes.

python pre_process/extract_bboxes.py --cfg_file cfgs/toy.yaml --draw 4
"""

from __future__ import annotations

import argparse

if not __package__:
    import _path  # noqa: F401

from datasets.cubes.settings import later_settings
from pre_process.cluster import run_over_videos
from pre_process.cubes.settings import box_settings, is_network
from pre_process.detectors.extraction import BoxJob, draw_dataset
from pre_process.detectors.zones import Zones
from pre_process.work_arguments import (
    add_extraction_arguments,
    find_unfinished,
    open_dataset,
    pick_workers,
)
from utils.config.load import load_config
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Detect foreground boxes and keep them. extract_samples.py does not need "
        "this: it detects on the fly, unless pre_process.boxes.backend is 'file'.",
        epilog="example: python pre_process/extract_bboxes.py --cfg_file cfgs/ped2.yaml --draw 4",
    )
    add_extraction_arguments(parser)
    parser.add_argument(
        "--draw",
        type=int,
        default=0,
        metavar="N",
        help="also draw boxes and zones on N frames of each video (PNG, in boxes/drawn)",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    options = parse_arguments(arguments)
    setup_logging()
    config = load_config(options.cfg_file, options.set)
    boxes = config.pre_process.boxes
    if boxes.backend == "file" and not boxes.training_file:
        raise UserError(
            "pre_process.boxes.backend is 'file' without files: that reads what this script "
            "writes; set another backend, such as motion"
        )
    dataset = open_dataset(config.data.folder, options.max_side)
    settings = box_settings(boxes, dataset) | later_settings(config.pre_process)
    job = BoxJob(config.pre_process, dataset, settings)
    entries = find_unfinished(job, dataset.entries, options.overwrite)
    workers = pick_workers(options.workers, is_network(boxes.backend))
    echo(f"{dataset.root}: {len(dataset.entries)} videos, {len(entries)} to do")
    echo(f"detector: {boxes.backend}, {workers} process(es)")
    run_over_videos(job, entries, workers, "boxes", options.scheduler)
    if options.draw:
        zones = Zones.of(config.pre_process)
        echo(f"drawn frames: {draw_dataset(dataset, options.draw, zones)}")
    echo(f"boxes: {dataset.root / 'boxes'}")


if __name__ == "__main__":
    main()
