"""Recognise how a data set lies on disk: UCSD's own, HF2-VAD's, JPEG packs, raw videos.

| data set     | training              | testing                     | labels                  |
|--------------|-----------------------|-----------------------------|-------------------------|
| UCSD         | Train/Train001/*.tif  | Test/Test001/*.tif          | Test/UCSDped2.m, *_gt/  |
| Avenue       | training_videos/*.avi | testing_videos/*.avi        | testing_label_mask/     |
| ShanghaiTech | training/videos/*.avi | testing/frames/01_0014/*    | testing/test_frame_mask |
| HF2-VAD      | training/frames/01/*  | testing/frames/01/*         | gt_label.json, ped2.mat |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from datasets.image_folders import list_images, refuse_image
from datasets.labels.masks import has_masks
from datasets.video_folders import find_videos, is_frame_folder, is_video_file
from utils.errors import UserError
from utils.file_kind import describe_file

# fmt: off
_SPLIT_FOLDERS = {
    "training": (
        "Train", "training/frames", "training/videos", "training_videos", "train/frames",
        "train/videos", "train", "training",
    ),
    "testing": (
        "Test", "testing/frames", "testing/videos", "testing_videos", "test/frames",
        "test/videos", "test", "testing",
    ),
}
# fmt: on
_LABELS = ("ground_truth_demo/gt_label.json", "gt_label.json", "labels.npz", "labels.csv")
_MASKS = (
    "testing_label_mask",
    "ground_truth_demo/testing_label_mask",
    "Test",
    "testing/test_pixel_mask",
    "test_pixel_mask",
)
_FRAME_LABELS = ("testing/test_frame_mask", "test_frame_mask")
_DEPTH = 4  # levels searched: archives wrap their content in a folder or two


@dataclass(frozen=True)
class Layout:
    """Sources of each split; labels and pixel masks of the test videos, if any."""

    training: list[Path]
    testing: list[Path]
    labels: Path | None
    masks: Path | None


def find_layout(source: Path, name: str, labels: Path | None = None) -> Layout:
    """Recognise a folder's layout.

    Args:
        source: the folder (or one below it) that holds the splits; or a folder of videos, a folder
            of images or a video file, which are normal training videos then.
        name: the data set's name: chooses among several data sets in one folder (Ped1 and Ped2).
        labels: label file or folder where it lies elsewhere.

    Raises:
        UserError: nothing known there, several data sets, an empty video folder, no such labels.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check --source")
    if source.is_file():
        refuse_image(source)
    if is_video_file(source) or (source.is_dir() and is_frame_folder(source)):
        return Layout([source], [], None, None)
    if source.is_file():
        kind = describe_file(source)
        raise UserError(
            f"{source}: neither a video nor an archive that can be unpacked"
            f"{f': it is {kind}' if kind else ''}; give a video, a folder, or a zip or tar archive"
        )
    root = _find_root(source, name)
    if root is None:
        return Layout(_own_videos(source), [], None, None)
    videos = {split: _split_videos(root, split) for split in _SPLIT_FOLDERS}
    places = [labels] if labels else [root, root.parent] if root != source else [root]
    if labels and not labels.exists():
        raise UserError(f"{labels}: no such label file or folder; check --labels")
    label_source = labels if labels and labels.is_file() else _first(places, _label_names(name))
    masks = next((path for path in map(_first_masks, places) if path), None)
    return Layout(videos["training"], videos["testing"], label_source or masks or labels, masks)


def _own_videos(source: Path) -> list[Path]:
    try:
        return find_videos(source)
    except UserError as error:
        raise UserError(
            f"{error}. Nor is it a known layout: Train/ and Test/, training_videos/ and "
            "testing_videos/, training/ and testing/ with frames/ or videos/ in them"
        ) from None


def _find_root(source: Path, name: str) -> Path | None:
    """The folder that holds the splits: ``source`` itself or one below it."""
    roots, level = [], [source]
    for _ in range(_DEPTH):
        roots = [
            folder for folder in level if any(_split_folder(folder, s) for s in _SPLIT_FOLDERS)
        ]
        if roots:
            break
        level = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
    if len(roots) > 1:
        letters = re.sub(r"[^a-z0-9]", "", name.lower())
        roots = [root for root in roots if letters in re.sub(r"[^a-z0-9]", "", root.name.lower())]
        if len(roots) != 1:
            raise UserError(
                f"{source}: several data sets lie here; give one of their folders as --source "
                "(or its name as --name, such as ped2)"
            )
    return roots[0] if roots else None


def _split_folder(root: Path, split: str) -> Path | None:
    """The first known folder of a split that holds videos."""
    candidates = (root / name for name in _SPLIT_FOLDERS[split])
    return next((path for path in candidates if path.is_dir() and _holds_videos(path)), None)


def _holds_videos(folder: Path) -> bool:
    children = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return any(is_video_file(path) or (path.is_dir() and list_images(path)) for path in children)


def _split_videos(root: Path, split: str) -> list[Path]:
    folder = _split_folder(root, split)
    if folder is None:
        return []
    return [path for path in find_videos(folder) if not path.name.endswith("_gt")]


def _label_names(name: str) -> tuple[str, ...]:
    plain = name.lower().removesuffix("19")
    return (f"{plain}.mat", *_LABELS, *_FRAME_LABELS)


def _first(places: list[Path], names: tuple[str, ...]) -> Path | None:
    paths = (place / name for place in places for name in names)
    return next((path for path in paths if path.exists()), None)


def _first_masks(place: Path) -> Path | None:
    """A folder of pixel masks, or UCSD's folder of test videos with its ``.m`` file."""
    candidates = [place, *(place / name for name in _MASKS)]
    for path in candidates:
        if path.is_dir() and (has_masks(path) or len(list(path.glob("*.m"))) == 1):
            return path
    return None
