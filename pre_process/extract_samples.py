"""Extract spatio-temporal cubes from all videos of a data set.

python pre_process/extract_samples.py --cfg_file cfgs/toy.yaml --workers 2
"""

from __future__ import annotations

import argparse
import time

if not __package__:
    import _path  # noqa: F401

from datasets.cubes.files import read_manifest
from datasets.manifest import SPLITS, DataSet
from pre_process.cluster import run_over_videos
from pre_process.cubes.extraction import (
    CubeJob,
    cube_folder,
    estimate_cube_bytes,
    require_long_enough,
    verify_cubes,
)
from pre_process.cubes.settings import cube_settings, is_network
from pre_process.work_arguments import (
    add_extraction_arguments,
    find_unfinished,
    open_dataset,
    pick_workers,
)
from utils.config.load import load_config
from utils.console import echo, setup_logging
from utils.errors import exit_on_user_error
from utils.files import require_free_space


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Extract boxes, flow and cubes of a data set in one pass over its videos.",
        epilog="example: python pre_process/extract_samples.py --cfg_file cfgs/ped2.yaml "
        "--workers 2 --set pre_process.flow.preset=fast",
    )
    add_extraction_arguments(parser)
    parser.add_argument(
        "--verify", action="store_true", help="first compare finished cubes with their checksums"
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    options = parse_arguments(arguments)
    setup_logging()
    config = load_config(options.cfg_file, options.set)
    dataset = open_dataset(config.data.folder, options.max_side)
    require_long_enough(dataset)
    if options.verify:
        echo(f"{verify_cubes(dataset)} finished videos match their checksums")
    settings = cube_settings(config.pre_process, dataset)
    job = CubeJob(config.pre_process, dataset, settings)
    entries = find_unfinished(job, dataset.entries, options.overwrite)
    backends = config.pre_process.boxes.backend, config.pre_process.flow.backend
    workers = pick_workers(options.workers, any(map(is_network, backends)))
    echo(f"{dataset.root}: {len(dataset.entries)} videos, {len(entries)} to extract")
    if entries:
        needed = estimate_cube_bytes(config.pre_process, dataset, entries)
        echo(f"about {needed / 2**20:.0f} MiB of disk, {workers} process(es)")
        require_free_space(dataset.root, needed, "cube extraction")
        start = time.perf_counter()
        frames = run_over_videos(job, entries, workers, "cubes", options.scheduler)
        seconds = time.perf_counter() - start
        echo(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.0f} frames/s")
    echo(describe_cubes(dataset))


def describe_cubes(dataset: DataSet) -> str:
    """One line: how many cubes each split has and where."""
    counts = []
    for split in SPLITS:
        manifests = [read_manifest(cube_folder(dataset.root, e)) for e in dataset.videos(split)]
        counts.append(f"{sum(each['num_cubes'] for each in manifests if each)} {split}")
    return f"cubes: {', '.join(counts)} in {dataset.root / 'cubes'}"


if __name__ == "__main__":
    main()
