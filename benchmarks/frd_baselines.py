"""What snippet features tell without any learning: AUC of norms and distances, with intervals.

python -m benchmarks.frd_baselines --cfg_file cfgs/frd_pets2009.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from datasets.features.dataset import FeatureSet
from datasets.features.labels import load_feature_labels, open_split
from datasets.features.snippet_scores import load_snippet_values
from evaluation import metrics
from evaluation.frd import frame_rows
from utils.config.frd import FeatureDataConfig
from utils.config.load import add_config_arguments, load_config
from utils.console import echo, format_table
from utils.errors import UserError, exit_on_user_error

NEIGHBOURS = 5


def snippet_truth(path: Path, features: FeatureSet, data: FeatureDataConfig) -> np.ndarray:
    """Labels (N,) of snippets from a file of them, or of frames: most of a snippet's frames."""
    try:
        return load_snippet_values(path, features)
    except UserError:
        frames = load_feature_labels(path, features, data.frames_per_snippet, data.equal_lengths)
    each = data.frames_per_snippet
    parts = []
    for name, length in zip(features.names, features.lengths, strict=True):
        values = frames[name][: length * each]
        padded = np.pad(values, (0, length * each - len(values)), mode="edge")
        parts.append(padded.reshape(length, each).mean(axis=1) >= 0.5)
    return np.concatenate(parts).astype(np.float32)


def snippet_baselines(training: FeatureSet, testing: FeatureSet) -> dict[str, np.ndarray]:
    """Named values (N,) of the test snippets; what is averaged is averaged over crops."""
    known, new = (each.rows(0, len(each)).astype(np.float64) for each in (training, testing))
    centre = known.mean(axis=(0, 1))
    return {
        "feature norm": np.square(new).sum(2).mean(1),
        "distance to the mean feature": np.square(new - centre).sum(2).mean(1),
        "distance to each crop's mean": np.square(new - known.mean(axis=0)).sum(2).mean(1),
        f"distance to the {NEIGHBOURS} nearest of other videos": _neighbours(
            known.mean(1), _video_of(training), new.mean(1), _video_of(testing)
        ),
    }


def _video_of(features: FeatureSet) -> np.ndarray:
    return np.repeat(features.names, features.lengths)


def _neighbours(
    known: np.ndarray, known_videos: np.ndarray, new: np.ndarray, new_videos: np.ndarray
) -> np.ndarray:
    """Mean distance to the nearest training snippets, those of the same video left out."""
    found = np.zeros(len(new))
    for video in np.unique(new_videos):
        others, own = known[known_videos != video], new_videos == video
        count = min(NEIGHBOURS, len(others))
        nearest = NearestNeighbors(n_neighbors=count).fit(others)
        found[own] = nearest.kneighbors(new[own])[0].mean(axis=1)
    return found


def baseline_rows(
    values: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    features: FeatureSet,
    frames_per_snippet: int,
) -> list[list[str]]:
    """A row a baseline: micro AUC in %, its 95 % interval over videos."""
    truth = [labels[name] for name in features.names]
    counts = [len(each) for each in truth]
    rows = frame_rows(features.lengths.tolist(), counts, frames_per_snippet)
    table = []
    for name, each in values.items():
        scores = np.split(each[rows], np.cumsum(counts)[:-1])
        low, high = metrics.bootstrap_micro_auc(scores, truth)
        auc = metrics.micro_auc(scores, truth)
        table.append([name, f"{100 * auc:.1f}", f"{100 * low:.0f} to {100 * high:.0f}"])
    return table


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    data = load_config(arguments.cfg_file, arguments.set, system="frd").data
    (training, _), (testing, labels) = open_split(data, "training"), open_split(data, "testing")
    if labels is None:
        raise UserError("the test videos have no labels; name them by data.testing_labels")
    values = snippet_baselines(training, testing)
    rows = baseline_rows(values, labels, testing, data.frames_per_snippet)
    echo(format_table(["no learning", "AUC", "95 % interval"], rows))


if __name__ == "__main__":
    main()
