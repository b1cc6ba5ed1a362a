"""What is known about test videos, as far as anything is: labels and labelled regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.labels.frame_labels import FILE_NAME as LABEL_FILE
from datasets.labels.frame_labels import load_labels
from datasets.labels.regions import Region, read_regions
from utils.errors import UserError

REGION_FILE = "regions.csv"


def load_ground_truth(root: Path) -> tuple[dict[str, np.ndarray] | None, list[Region] | None]:
    """Frame labels (video -> (num_frames,) uint8) and regions of a data set, ``None`` where absent.

    Raises:
        UserError: a file that is there but damaged, or regions whose frames count from 1.
    """
    labels = load_labels(root) if (root / LABEL_FILE).is_file() else None
    regions = read_regions(root / REGION_FILE) if (root / REGION_FILE).is_file() else None
    if labels and regions and not _fit(regions, labels) and _fit(regions, labels, first=1):
        raise UserError(
            f"{root / REGION_FILE}: its frames fit the labels only if they count from 1; count "
            "them from 0"
        )
    return labels, regions


def _fit(regions: list[Region], labels: dict[str, np.ndarray], first: int = 0) -> bool:
    """Whether every region lies in a frame that is labelled abnormal."""
    known = [(labels[region.video], region.frame - first) for region in regions
             if region.video in labels]  # fmt: skip
    return all(0 <= frame < len(values) and values[frame] == 1 for values, frame in known)
