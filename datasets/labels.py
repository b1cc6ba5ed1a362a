"""Frame labels of the test videos: ``labels.npz`` in a data set's folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_path

FILE_NAME = "labels.npz"


def save_labels(root: str | Path, labels: dict[str, np.ndarray]) -> None:
    """Write ``labels.npz``: video name -> (num_frames,) uint8, 1 is anomalous; atomically."""
    arrays = {name: np.asarray(values, np.uint8) for name, values in labels.items()}
    with atomic_path(Path(root) / FILE_NAME) as temporary:
        np.savez_compressed(temporary, **arrays)


def load_labels(root: str | Path) -> dict[str, np.ndarray]:
    """Read ``labels.npz`` from a data set's folder: video name -> (num_frames,) uint8 of 0 and 1.

    Raises:
        UserError: no labels there, or a damaged file.
    """
    path = Path(root) / FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{path}: no labels; run pre_process/prepare_dataset.py with --labels FILE, "
            "or score the videos without evaluating them (infer.py)"
        )
    return read_npz(path)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a labels ``.npz`` file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged label file ({error}); prepare it again") from None
