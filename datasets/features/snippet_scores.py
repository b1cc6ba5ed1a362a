"""One number a snippet, kept in a file: scores of an earlier run, pseudo labels, truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets.features.dataset import FeatureSet
from datasets.features.files import explain
from datasets.names import find_videos, is_order_open
from utils.errors import UserError
from utils.files import DAMAGED_ARRAY, atomic_path
from utils.untrusted.expansion import require_small_npz


def save_snippet_values(path: Path, features: FeatureSet, values: np.ndarray) -> None:
    """Write (N,) ``values`` as ``.npz``: video name -> (T,); atomically."""
    with atomic_path(path) as temporary:
        by_video: dict[str, Any] = features.split_by_video(values)
        np.savez_compressed(temporary, **by_video)


def load_snippet_values(path: str | Path, features: FeatureSet) -> np.ndarray:
    """Read one number for each snippet of ``features``.

    Args:
        path: ``.npz`` (video name -> (T,)) or ``.npy`` ((N,) in snippet order, as published; of a
            folder the order must be known from a list).

    Returns:
        (N,) float32.

    Raises:
        UserError: missing or foreign file, a video that is missing or of another length, or values
            outside [0, 1].
    """
    path = Path(path)
    require_small_npz(path, 2**24 + 64 * len(features))
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            _require_order(features, path)
            values = loaded.reshape(-1).astype(np.float32)
        else:
            named = {name: loaded[name].reshape(-1) for name in loaded.files}
            values = _in_order(find_videos(named, features.names), features, path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file of snippet values; make it with pre_process/"
            "make_pseudo_labels.py or frd_eval.py --split training, or correct the path"
        ) from None
    except (TypeError, *DAMAGED_ARRAY) as error:
        raise UserError(
            f"{path}: not readable as snippet values ({explain(path, error)})"
        ) from None
    if len(values) != len(features):
        raise UserError(
            f"{path}: {len(values)} values for {len(features)} snippets of {features.path}; "
            "make it again from these features"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"{path}: holds values outside [0, 1]; scores and labels lie within")
    return values


def _require_order(features: FeatureSet, path: Path) -> None:
    """A row follows one array as it lies; a folder in the order of a list, else of its names.

    The latter is refused where lists of such videos circulate in another order.
    """
    if len(features.files) > 1 and not features.order and is_order_open(features.names):
        raise UserError(
            f"{path}: one value a snippet in a row, and nothing states the order of the "
            f"{len(features.names)} videos of {features.path}; name the list that it follows "
            "(data.training_list), or give an .npz of one array a video"
        )


def _in_order(named: dict[str, np.ndarray], features: FeatureSet, path: Path) -> np.ndarray:
    for name, length in zip(features.names, features.lengths, strict=True):
        count = len(named[name]) if name in named else "no"
        if count != length:
            raise UserError(
                f"{path}: video {name}: {count} values for {length} snippets; "
                "make it again from these features"
            )
    return np.concatenate([named[name] for name in features.names]).astype(np.float32)
