"""Made-up anomalies of any length and place, and what C2FPL could label by on them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import frd_label_rules
from datasets.toy.features import ToySettings, write_toy_features

CLEAN = {"num_videos": 4, "snippets": (40, 50), "noise": 0.0, "gain": 0.0, "crops": 1}


def rows_and_truth(folder, **settings):
    """Features (n, D) of the training videos with an anomaly, and their labels."""
    truth = write_toy_features(folder, settings=ToySettings(**CLEAN, **settings))["training"]
    names = [name for name, labels in truth.items() if labels.any()]
    rows = [np.load(folder / "features" / "training" / f"{name}.npy")[:, 0] for name in names]
    return np.concatenate(rows), np.concatenate([truth[name] for name in names]), len(names)


def test_anomalies_may_be_as_long_as_normal_snippets_or_lie_in_their_subspace(tmp_path):
    rows, truth, count = rows_and_truth(tmp_path / "a")
    assert count == 2 and np.linalg.matrix_rank(rows, tol=1e-3) == 12 + 2  # two kinds
    longer = np.linalg.norm(rows, axis=1)
    assert longer[truth == 1].mean() > 1.2 * longer[truth == 0].mean()
    rows, truth, count = rows_and_truth(
        tmp_path / "b", within=True, length_of_anomalies=0.5, normal_every=0, mean=1.0
    )
    assert count == 4 and np.linalg.matrix_rank(rows, tol=1e-3) == 12 + 1  # and the mean
    shorter = np.linalg.norm(rows, axis=1)
    assert shorter[truth == 1].max() < 0.8 * np.median(shorter[truth == 0])
    np.testing.assert_allclose(rows[truth == 0].mean(), 1.0, atol=0.2)


def test_a_table_of_statistics_on_a_data_set(tmp_path, capsys):
    settings = ToySettings(num_videos=8, snippets=(20, 30), strength=4.0, gain=0.05, noise=0.1)
    truth = write_toy_features(tmp_path / "data", settings=settings)["training"]
    np.savez(tmp_path / "truth.npz", **truth)
    (tmp_path / "c.yaml").write_text(
        f"system: frd\ndata: {{name: toy, root: {tmp_path / 'data'}}}\n"
    )
    truth_file = ["--truth", str(tmp_path / "truth.npz")]
    frd_label_rules.main(["--cfg_file", str(tmp_path / "c.yaml"), *truth_file])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    gained = {row[0]: int(row[1]) for row in rows}
    assert list(gained) == [each.__name__ for each in frd_label_rules.STATISTICS]
    assert min(gained["norm"], gained["distance_to_mean"], gained["density_ratio"]) > 50


@pytest.mark.parametrize("statistic", frd_label_rules.STATISTICS, ids=lambda each: each.__name__)
def test_every_statistic_is_high_for_what_stands_apart(statistic):
    random = np.random.default_rng(0)
    known = random.normal(size=(60, 2, 4)) @ (9 * random.normal(size=(4, 40)))
    rows = known + 0.1 * random.normal(size=known.shape) + 1
    rows[7] += 40 * random.normal(size=40)
    values = statistic(rows, np.repeat(np.arange(3), 20))
    assert values.shape == (60,) and values.argmax() == 7
