"""Make a data set of features that lie in .npz files (features, lengths, names, frame_labels).

Example: python pre_process/import_features.py --name pets --training train.npz --testing test.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:
    import _path  # noqa: F401

from datasets.features.archive import FeatureArchive, read_archive, repeated_videos
from utils.console import echo, setup_logging
from utils.errors import UserError, exit_on_user_error
from utils.files import (
    atomic_folder,
    atomic_path,
    require_elsewhere,
    require_free_space,
    require_new,
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="the data set's name")
    parser.add_argument(
        "--training", type=Path,
        help=".npz of the training videos; its labels, for make_pseudo_labels.py --truth, go apart",
    )  # fmt: skip
    parser.add_argument("--testing", type=Path, help=".npz of the test videos")
    parser.add_argument("--output", type=Path, help="where to write; default: data/NAME")
    parser.add_argument("--overwrite", action="store_true", help="replace features there")
    return parser.parse_args(argv)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``features/{training,testing}/``, ``labels.npz`` and ``truth.npz``."""
    arguments = parse_arguments(argv)
    setup_logging()
    folder = arguments.output or Path("data") / arguments.name
    paths = {"training": arguments.training, "testing": arguments.testing}
    archives = {split: read_archive(path) for split, path in paths.items() if path}
    if not archives:
        raise UserError("name --training, --testing or both: .npz files of features")
    _require_alike(archives, paths)
    targets = [folder / "features" / split for split in archives]
    tables = {"testing": folder / "labels.npz", "training": folder / "truth.npz"}
    labelled = [tables[split] for split, archive in archives.items() if archive.labels]
    require_new([*targets, *labelled], arguments.overwrite)
    require_elsewhere([path for path in paths.values() if path], targets)
    for split, archive in archives.items():
        _write_features(folder / "features" / split, archive)
        echo(_summary(split, archive))
    if tables["testing"] in labelled:
        _write(tables["testing"], archives["testing"].labels)
    if tables["training"] in labelled:
        _write(tables["training"], archives["training"].snippet_labels)
    if len(archives) == 2 and (pairs := repeated_videos(archives["training"], archives["testing"])):
        echo(f"notice: test videos with the features of training videos: {', '.join(pairs)}")
    echo(f"data set: {folder}")


def _require_alike(archives: Mapping[str, FeatureArchive], paths: Mapping[str, Path]) -> None:
    kinds = {
        split: (next(iter(each.features.values())).shape[1:], each.frames_per_snippet)
        for split, each in archives.items()
    }
    shapes = {shape for shape, _ in kinds.values()}
    frames = {each for _, each in kinds.values() if each}
    if len(shapes) > 1 or len(frames) > 1:
        found = "; ".join(f"{paths[split]}: {kinds[split]}" for split in kinds)
        raise UserError(
            f"the splits differ in (crops, D) or frames a snippet ({found}); use features of one "
            "extraction"
        )


def _write_features(folder: Path, archive: FeatureArchive) -> None:
    size = sum(rows.nbytes for rows in archive.features.values())
    require_free_space(folder, size, "writing the features")
    with atomic_folder(folder) as temporary:
        for name, rows in archive.features.items():
            np.save(temporary / f"{name}.npy", np.ascontiguousarray(rows))


def _write(path: Path, values: Mapping[str, Any] | None) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **(values or {}))


def _summary(split: str, archive: FeatureArchive) -> str:
    lengths = [len(rows) for rows in archive.features.values()]
    crops, size = next(iter(archive.features.values())).shape[1:]
    text = (
        f"{split}: {len(lengths)} videos, {sum(lengths)} snippets, {crops} crops of {size} values"
    )
    if archive.labels is None:
        return f"{text}, no labels"
    abnormal = sum(bool(labels.any()) for labels in archive.labels.values())
    frames = np.concatenate(list(archive.labels.values()))
    return (
        f"{text}, data.frames_per_snippet {archive.frames_per_snippet}; {abnormal} videos with an "
        f"anomaly, {frames.mean():.1%} of the frames"
    )


if __name__ == "__main__":
    main()
