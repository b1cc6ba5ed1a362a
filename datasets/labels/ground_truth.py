"""What is known about test videos, as far as anything is: labels and labelled regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.labels.frame_labels import FILE_NAME as LABEL_FILE
from datasets.labels.frame_labels import load_labels
from datasets.labels.regions import Region, read_regions

REGION_FILE = "regions.csv"


def load_ground_truth(root: Path) -> tuple[dict[str, np.ndarray] | None, list[Region] | None]:
    """Frame labels (video -> (num_frames,) uint8) and regions of a data set, ``None`` where absent.

    Raises:
        UserError: a file that is there but damaged.
    """
    labels = load_labels(root) if (root / LABEL_FILE).is_file() else None
    regions = read_regions(root / REGION_FILE) if (root / REGION_FILE).is_file() else None
    return labels, regions
