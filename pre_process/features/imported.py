"""What is checked of features in .npz files before they become a data set, and said afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.features.archive import FeatureArchive
from utils.errors import UserError


def require_alike(archives: Mapping[str, FeatureArchive], paths: Mapping[str, Path | None]) -> None:
    """Both splits must be of one extraction.

    Args:
        archives: split -> its features; paths: split -> their file.

    Raises:
        UserError: other (crops, D), or other frames a snippet.
    """
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


def require_free(targets: Sequence[Path], overwrite: bool) -> None:
    """Nothing must be replaced unasked.

    Raises:
        UserError: one of ``targets`` is a file, or a folder with files in it.
    """
    for path in targets:
        if not overwrite and (any(path.iterdir()) if path.is_dir() else path.exists()):
            what = "holds files already" if path.is_dir() else "is there already"
            raise UserError(
                f"{path}: {what}; pass --overwrite to replace them, or another --output"
            )


def require_elsewhere(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """What is read must not lie in a folder that is replaced.

    Raises:
        UserError: one of ``sources`` lies in one of ``targets``.
    """
    for source in sources:
        for target in targets:
            if source.resolve().is_relative_to(target.resolve()):
                raise UserError(f"{source}: lies in {target}, which is replaced; move it elsewhere")


def summarise(split: str, archive: FeatureArchive) -> str:
    """Numbers of videos, snippets, crops and anomalies, in words."""
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
