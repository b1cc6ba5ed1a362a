"""Make C2FPL's pseudo labels of the unlabelled training features, for training its scorer.

Example: python pre_process/make_pseudo_labels.py --cfg_file cfgs/frd_toy.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

if not __package__:
    import _path  # noqa: F401

from datasets.features.dataset import FeatureSet
from datasets.features.labels import open_split
from datasets.features.settings import require_configured
from datasets.features.snippet_scores import load_snippet_values, save_snippet_values
from datasets.features.statistics import feature_statistics
from pre_process.features.pseudo_labels import (
    coarse_labels,
    fine_labels,
    snippet_norms,
    video_statistics,
)
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, setup_logging
from utils.errors import exit_on_user_error


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Coarse stage, fine stage, one file of labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--output", help="file to write (default: pre_process.pseudo_labels.file)")
    parser.add_argument("--truth", help="true labels a snippet (.npz), to compare with")
    arguments = parser.parse_args(argv)
    setup_logging()
    config = load_config(arguments.cfg_file, arguments.set, system="frd")
    settings = config.pre_process.pseudo_labels
    path, frames = config.data.features("training"), config.data.frames_per_snippet
    require_configured(path, config.pre_process.features, frames)
    features, _ = open_split(config.data, "training")
    features.choose_crops(())  # the norms are over all crops
    echo(f"{len(features.names)} videos, {len(features)} snippets of {features.path}")

    mean = feature_statistics(features).mean if settings.centred else None
    norms = snippet_norms(features, mean)
    statistics = video_statistics(norms, features.starts)
    abnormal = coarse_labels(statistics, settings.bag_ratio, settings.moved_share, settings.tail)
    labels = fine_labels(norms, features.starts, abnormal, settings.window_share, settings.rule)

    path = Path(arguments.output or config.pseudo_label_file)
    save_snippet_values(path, features, labels)
    echo(f"coarse: {abnormal.sum()} videos in the abnormal bag, {(~abnormal).sum()} in the normal")
    echo(f"fine ({settings.rule}): {labels.sum()} snippets labelled, {labels.mean():.1%} of all")
    if arguments.truth:
        report_agreement(labels, load_snippet_values(arguments.truth, features), features, abnormal)
    echo(f"written to {path}")


def report_agreement(
    labels: np.ndarray, truth: np.ndarray, features: FeatureSet, abnormal: np.ndarray
) -> None:
    """Say how many snippets and videos are right."""
    hits = float(((labels == 1) & (truth == 1)).sum())
    echo(
        f"snippets: precision {hits / max(1, labels.sum()):.3f}, "
        f"recall {hits / max(1, truth.sum()):.3f}"
    )
    really = np.array([part.any() for part in features.split_by_video(truth).values()])
    true_positives = float((abnormal & really).sum())
    echo(
        f"videos: precision {true_positives / max(1, abnormal.sum()):.3f}, "
        f"recall {true_positives / max(1, really.sum()):.3f}"
    )


if __name__ == "__main__":
    main()
