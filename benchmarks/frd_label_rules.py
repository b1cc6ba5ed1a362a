"""What C2FPL could label by, compared on made-up features whose labels are known.

Anomalies there make features longer, leave their length as it is, or make them shorter; they are
rare or most of all snippets. Printed is the precision of the labels less the share of anomalies:
0 is by lot. A real data set is measured by the same statistics with --cfg_file and --truth.

python -m benchmarks.frd_label_rules
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.frd_baselines import snippet_truth
from datasets.features.dataset import FeatureSet
from datasets.features.labels import open_split
from datasets.toy.features import ToySettings, write_toy_features
from pre_process.features.pseudo_labels import coarse_labels, fine_labels, video_statistics
from utils.config.load import load_config
from utils.console import echo, format_table
from utils.errors import exit_on_user_error

NEIGHBOURS = 5
LENGTHS = {"longer": None, "as long": 1.0, "shorter": 0.7}
SHARES = {
    "rare": {"anomaly_share": (0.1, 0.2), "normal_every": 2},
    "most": {"anomaly_share": (0.7, 0.9), "normal_every": 0},
}
PLACES = {"outside": False, "within": True}
STRENGTH, MEAN = 1.5, 1.0  # of anomalies and of what features have in common, in normal norms

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def norm(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """As published."""
    return np.square(rows).sum(2).mean(1)


def distance_to_mean(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The default."""
    return norm(rows - rows.mean(axis=(0, 1)), videos)


def distance_to_median(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """To the median of each value."""
    return norm(rows - np.median(rows, axis=(0, 1)), videos)


def distance_to_video(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """To the median of the snippet's own video."""
    medians = {each: np.median(rows[videos == each], axis=(0, 1)) for each in np.unique(videos)}
    return norm(rows - np.stack([medians[each] for each in videos])[:, None], videos)


def outside_subspace(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """What the components that hold nine tenths of the variance leave."""
    flat = rows.reshape(-1, rows.shape[2])
    found = PCA(0.9, svd_solver="covariance_eigh").fit(flat)
    rest = flat - found.inverse_transform(found.transform(flat))
    return norm(rest.reshape(rows.shape), videos)


def whitened_distance(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """To the mean, in the same components, each of deviation 1."""
    flat = rows.reshape(-1, rows.shape[2])
    white = PCA(0.9, whiten=True, svd_solver="covariance_eigh").fit_transform(flat)
    return norm(white.reshape(*rows.shape[:2], -1), videos)


def distance_to_neighbours(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """To the nearest snippets of other videos."""
    points, found = rows.mean(axis=1), np.zeros(len(rows))
    for video in np.unique(videos):
        others, own = points[videos != video], videos == video
        nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(others)
        found[own] = nearest.kneighbors(points[own])[0].mean(axis=1)
    return found


def density_ratio(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Local outlier factor with as many neighbours as a video has snippets."""
    most = int(np.unique(videos, return_counts=True)[1].mean())
    factor = LocalOutlierFactor(n_neighbors=min(most, len(rows) - 1)).fit(rows.mean(axis=1))
    return -factor.negative_outlier_factor_


def either_tail(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Deviations of the norm from its median, up or down."""
    return np.abs(_standardised(norm(rows, videos)))


def norm_or_distance(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The larger of the norm and the distance to the mean, in deviations of their own."""
    both = norm(rows, videos), distance_to_mean(rows, videos)
    return np.maximum(*map(_standardised, both))


def distance_or_outside(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The larger of the distance to the mean and of what is outside the subspace, likewise."""
    both = distance_to_mean(rows, videos), outside_subspace(rows, videos)
    return np.maximum(*map(_standardised, both))


def norm_and_distance(rows: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The sum of the same two."""
    return _standardised(norm(rows, videos)) + _standardised(distance_to_mean(rows, videos))


def _standardised(values: np.ndarray) -> np.ndarray:
    middle = np.median(values)
    return (values - middle) / max(float(np.median(np.abs(values - middle))), 1e-12)


STATISTICS: tuple[Statistic, ...] = (
    norm, distance_to_mean, distance_to_median, distance_to_video, outside_subspace,
    whitened_distance, distance_to_neighbours, density_ratio, either_tail, norm_or_distance,
    distance_or_outside, norm_and_distance,
)  # fmt: skip


def labels_by(statistic: Statistic, features: FeatureSet) -> np.ndarray:
    """C2FPL's labels (N,) of 0 and 1 from another statistic of each snippet."""
    rows = features.rows(0, len(features)).astype(np.float64)
    values = statistic(rows, np.repeat(np.arange(len(features.names)), features.lengths))
    abnormal = coarse_labels(video_statistics(values, features.starts))
    return fine_labels(values, features.starts, abnormal)


def precisions(features: FeatureSet, truth: np.ndarray) -> dict[str, float]:
    """The precision of each statistic's labels less the share of anomalies, in %."""
    found = {}
    for statistic in STATISTICS:
        labels = labels_by(statistic, features)
        precision = truth[labels == 1].mean() if labels.any() else truth.mean()
        found[statistic.__name__] = 100 * float(precision - truth.mean())
    return found


def made_up(seed: int) -> dict[str, dict[str, float]]:
    """The same for every kind of made-up data set."""
    found = {}
    for length, place, share in itertools.product(LENGTHS, PLACES, SHARES):
        settings = ToySettings(
            strength=STRENGTH, mean=MEAN, length_of_anomalies=LENGTHS[length],
            within=PLACES[place], **SHARES[share],
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            truth = write_toy_features(Path(folder), seed, settings)["training"]
            features = FeatureSet.open(Path(folder) / "features" / "training")
            labels = np.concatenate([truth[name] for name in features.names])
            found[f"{length}, {place}, {share}"] = precisions(features, labels)
    return found


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A row a statistic: the mean over seeds and data sets of each kind, over all, the lowest."""
    kinds = list(dict.fromkeys(kind for name in found for kind in name.split(", ")))
    rows = []
    for each in STATISTICS:
        means = {
            name: statistics.fmean(run[each.__name__] for run in runs)
            for name, runs in found.items()
        }
        numbers = [
            statistics.fmean(mean for name, mean in means.items() if kind in name.split(", "))
            for kind in kinds
        ]
        numbers += [statistics.fmean(means.values()), min(means.values())]
        rows.append([each.__name__, *(f"{number:+.0f}" for number in numbers)])
    return format_table(["labels by", *kinds, "mean", "lowest"], rows)


@exit_on_user_error
def main(argv: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cfg_file", help="of a data set, instead of made-up ones")
    parser.add_argument("--truth", type=Path, help="its training labels")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args(argv)
    if arguments.cfg_file:
        data = load_config(arguments.cfg_file, arguments.set, system="frd").data
        features, _ = open_split(data, "training")
        truth = snippet_truth(arguments.truth, features, data)
        echo(table({data.name: [precisions(features, truth)]}))
        return
    runs = [made_up(seed) for seed in arguments.seeds]
    echo(table({name: [run[name] for run in runs] for name in runs[0]}))


if __name__ == "__main__":
    main()
