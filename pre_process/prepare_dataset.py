"""Bring a data set into data/NAME: videos, frame labels, regions.

python pre_process/prepare_dataset.py --name ped2 --source UCSD_Anomaly_Dataset.tar.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path

if not __package__:
    import _path  # noqa: F401

from datasets.labels.frame_labels import load_labels
from datasets.manifest import DataSet, save_dataset
from datasets.toy.scene import write_toy
from pre_process.preparation.archives import is_archive, unpack
from pre_process.preparation.avenue19 import cut_avenue19
from pre_process.preparation.layouts import find_layout
from pre_process.preparation.prepare import (
    check_place,
    collect_videos,
    import_labels,
    summarise,
    with_kept_size,
)
from utils.console import echo, format_table, seed, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.run_folder import sole_writer

EXAMPLES = """examples:
  python pre_process/prepare_dataset.py --name ped2 --source UCSD_Anomaly_Dataset.tar.gz
  python pre_process/prepare_dataset.py --name avenue19 --source Avenue_Dataset.zip \\
      --labels ground_truth_demo.zip
  python pre_process/prepare_dataset.py --name shanghaitech --source /data/shanghaitech
  python pre_process/prepare_dataset.py --name yard --source my_normal_videos/
  python pre_process/prepare_dataset.py --name toy --toy --seed 0
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Bring a data set into data/NAME with its labels. Known: UCSD Ped1 and Ped2, "
        "Avenue and ShanghaiTech as published, HF2-VAD's layout, packs of JPEG folders, folders of "
        "videos. Videos are linked, not copied.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", required=True, help="the data set's name")
    parser.add_argument(
        "--source", type=Path, help="archive (zip, tar.gz) or folder; of videos alone: training"
    )
    parser.add_argument("--labels", type=Path,
        help="frame labels that lie elsewhere: gt_label.json, ped2.mat, testing_label_mask/, a CSV "
        "with the header video,start,stop (0-based, stop exclusive), ...; an archive")  # fmt: skip
    parser.add_argument("--output", type=Path, help="where to write; default: data/NAME")
    parser.add_argument("--copy", action="store_true", help="copy the videos, do not link them")
    parser.add_argument(
        "--allow_short",
        action="store_true",
        help="use videos that hold fewer frames than they declare as far as they go, with a "
        "notice; labels as long as declared are cut",
    )
    parser.add_argument(
        "--avenue19",
        action="store_true",
        help="cut anomalies out of Avenue's training videos (implied by --name avenue19)",
    )
    parser.add_argument("--toy", action="store_true", help="write the synthetic toy scene")
    parser.add_argument("--seed", type=seed, default=0, help="seed of the toy scene")
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    options = parse_arguments(arguments)
    setup_logging()
    output = (options.output or Path("data") / options.name).absolute()
    if options.toy == bool(options.source):
        raise UserError("give either --source (archive or folder) or --toy")
    check_place(options.name, options.source, output)
    with sole_writer(output, "wait for it"):
        if options.toy:
            echo(f"writing the toy scene to {output}")
            dataset = write_toy(output, options.seed, progress=True)
            labels = load_labels(output)
        else:
            dataset, labels = prepare(options, output)
    columns = "split", "videos", "frames", "size", "anomalous"
    echo(format_table(columns, summarise(dataset, labels)))
    if dataset.videos("testing") and not labels:
        echo("no labels: videos can be scored (infer.py), but not evaluated")
    echo(f"data set: {output / 'dataset.json'}")


def prepare(options: argparse.Namespace, output: Path) -> tuple[DataSet, dict]:
    """Unpack, recognise, check, link, label; ``dataset.json`` is written last."""
    source, labels_path = options.source.absolute(), options.labels and options.labels.absolute()
    if is_archive(source):
        source = unpack(source, output / "archive")
    if labels_path and is_archive(labels_path):
        labels_path = unpack(labels_path, output / "archive")
    layout = find_layout(source, options.name, labels_path)
    if labels_path and not layout.testing:
        raise UserError(f"{source}: --labels is for test videos, and there are none here")
    echo(f"{source}: {len(layout.training)} training and {len(layout.testing)} test videos")
    videos = collect_videos(layout, output, options.copy, options.allow_short)
    is_avenue19 = options.avenue19 or options.name == "avenue19"
    entries = cut_avenue19(videos.entries) if is_avenue19 else videos.entries
    dataset = with_kept_size(DataSet(output, options.name, tuple(entries)))
    labels = import_labels(layout, dataset, videos.declared)
    save_dataset(dataset)
    return dataset, labels


if __name__ == "__main__":
    main()
