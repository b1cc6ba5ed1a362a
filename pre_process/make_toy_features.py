"""Make snippet features with planted anomalies, to try FRD-UVAD on without any video.

Example: python pre_process/make_toy_features.py --folder data/frd_toy --seed 0
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:
    import _path  # noqa: F401

from datasets.toy.features import ToySettings, write_toy_features
from utils.console import echo, seed
from utils.errors import exit_on_user_error
from utils.files import atomic_path


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Write the features, ``labels.npz`` of the test videos, ``truth.npz`` of the training ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("data/frd_toy"))
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--videos", type=int, default=ToySettings.num_videos, help="a split")
    parser.add_argument("--strength", type=float, default=ToySettings.strength)
    arguments = parser.parse_args(argv)
    settings = replace(ToySettings(), num_videos=arguments.videos, strength=arguments.strength)
    truth = write_toy_features(arguments.folder, arguments.seed, settings)
    with atomic_path(arguments.folder / "truth.npz") as temporary:
        training: dict[str, Any] = dict(truth["training"])
        np.savez_compressed(temporary, **training)
    for split, videos in truth.items():
        labels = np.concatenate(list(videos.values()))
        echo(
            f"{split}: {len(videos)} videos, {len(labels)} snippets, {labels.mean():.1%} anomalous"
        )
    echo(f"written to {arguments.folder}")


if __name__ == "__main__":
    main()
