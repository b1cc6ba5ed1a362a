"""Estimate optical flow of all videos of a data set and write it to data/NAME/flows.

python pre_process/extract_flows.py --cfg_file cfgs/toy.yaml --workers 2
"""

from __future__ import annotations

import argparse

if not __package__:
    import _path  # noqa: F401

from pre_process.cluster import run_over_videos
from pre_process.cubes.settings import flow_settings, is_network
from pre_process.flow.extraction import FlowJob, flow_bytes
from pre_process.work_arguments import (
    add_extraction_arguments,
    find_unfinished,
    open_dataset,
    pick_workers,
)
from utils.config.load import load_config
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.files import require_free_space


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Estimate flow and keep it, which takes much disk. extract_samples.py does "
        "not need this: it estimates on the fly, unless pre_process.flow.backend is 'file'.",
        epilog="example: python pre_process/extract_flows.py --cfg_file cfgs/ped2.yaml",
    )
    add_extraction_arguments(parser)
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    options = parse_arguments(arguments)
    setup_logging()
    config = load_config(options.cfg_file, options.set)
    flow = config.pre_process.flow
    if flow.backend == "file":
        raise UserError(
            "pre_process.flow.backend is 'file': that reads what this script writes; set another "
            "backend, such as dis"
        )
    dataset = open_dataset(config.data.folder, options.max_side)
    job = FlowJob(config.pre_process, dataset, flow_settings(flow, dataset))
    entries = find_unfinished(job, dataset.entries, options.overwrite)
    workers = pick_workers(options.workers, is_network(flow.backend))
    needed = flow_bytes(entries)
    echo(f"{dataset.root}: {len(dataset.entries)} videos, {len(entries)} to do")
    echo(f"flow: {flow.backend}, {needed / 2**20:.0f} MiB of disk, {workers} process(es)")
    require_free_space(dataset.root, needed, "flow")
    run_over_videos(job, entries, workers, "flow", options.scheduler)
    echo(f"flow: {dataset.root / 'flows'}")


if __name__ == "__main__":
    main()
