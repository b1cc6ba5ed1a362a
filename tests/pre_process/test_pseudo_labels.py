"""C2FPL's two stages on planted anomalies, against slow direct computations, and on bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.features.dataset import FeatureSet
from datasets.features.snippet_scores import load_snippet_values, save_snippet_values
from datasets.features.statistics import feature_statistics
from datasets.toy.features import ToySettings, write_toy_features
from pre_process.features.pseudo_labels import (
    RULES,
    coarse_labels,
    fine_labels,
    snippet_norms,
    video_statistics,
)
from pre_process.make_pseudo_labels import main
from utils.errors import UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A data set's folder and the truth of its training snippets, in order."""
    folder = tmp_path_factory.mktemp("toy")
    strong = ToySettings(strength=3.0, gain=0.1)
    truth = write_toy_features(folder, seed=0, settings=strong)["training"]
    return folder, np.concatenate([truth[name] for name in sorted(truth)])


def open_training(folder) -> FeatureSet:
    return FeatureSet.open(folder / "features" / "training")


def test_norms_and_statistics_are_those_of_the_paper(toy):
    features = open_training(toy[0])
    norms = snippet_norms(features)
    row = features.read(17, 18)[0].astype(np.float64)
    assert norms[17] == pytest.approx(np.mean([crop @ crop for crop in row]))
    statistics = video_statistics(norms, features.starts)
    first = norms[: features.starts[1]]
    assert statistics[0] == pytest.approx([first.mean(), np.var(first, ddof=1)])
    assert video_statistics(np.array([2.0, 1.0, 3.0]), np.array([0, 1, 3]))[0, 1] == 0


def test_finds_planted_anomalies_and_is_deterministic(toy):
    folder, truth = toy
    features = open_training(folder)
    norms = snippet_norms(features)
    abnormal = coarse_labels(video_statistics(norms, features.starts))
    really = np.array([part.any() for part in features.split_by_video(truth).values()])
    assert (abnormal & really).sum() / really.sum() > 0.9
    labels = fine_labels(norms, features.starts, abnormal)
    again = fine_labels(
        norms, features.starts, coarse_labels(video_statistics(norms, features.starts))
    )
    np.testing.assert_array_equal(labels, again)
    hits = ((labels == 1) & (truth == 1)).sum()
    assert hits / labels.sum() > 0.6 and hits / truth.sum() > 0.6
    published = fine_labels(norms, features.starts, abnormal, rule="p_differences")
    assert ((published == 1) & (truth == 1)).sum() < hits


def test_coarse_stage_takes_the_bag_of_larger_variance_and_balances():
    random = np.random.default_rng(0)
    calm = np.stack([random.normal(10, 1, 30), random.normal(1, 0.1, 30)], axis=1)
    wild = np.stack([random.normal(10, 1, 6), random.normal(40, 2, 6)], axis=1)
    statistics = np.concatenate([wild, calm])
    once = coarse_labels(statistics, bag_ratio=0.1)
    assert once.tolist() == [True] * 6 + [False] * 30
    assert coarse_labels(statistics[::-1], bag_ratio=0.1).tolist() == once[::-1].tolist()
    balanced = coarse_labels(statistics)
    assert once[balanced].sum() == 6 and balanced.sum() == (~balanced).sum()


@given(
    log_p=st.lists(st.floats(-50, 0), min_size=1, max_size=40),
    share=st.sampled_from([0.09, 0.15, 0.2, 0.5]),
    rule=st.sampled_from(RULES),
)
@settings(max_examples=80, deadline=None)
def test_the_window_is_the_best_of_all_by_direct_search(log_p, share, rule):
    # n_t whose density falls as asked, in a second video; the first sets the Gaussian.
    normal = np.array([-1.0, 1.0])
    norms = np.concatenate([normal, np.sqrt(-2 * np.array(log_p))])
    starts = np.array([0, 2, 2 + len(log_p)])
    labels = fine_labels(norms, starts, np.array([False, True]), share, rule)
    assert not labels[:2].any()
    length = int(share * len(log_p))
    density = np.array(log_p) - 0.5 * np.log(2 * np.pi)
    if rule == "p_differences":
        density = np.exp(density)
    lowest = rule.startswith("lowest")
    if rule == "lowest_log_survival":
        density = np.array([math.log(math.erfc(n / math.sqrt(2)) / 2) for n in norms[2:]])
    if length < 1 or (length < 2 and not lowest):
        assert not labels.any()
        return
    worth = [
        -density[s : s + length].sum() if lowest else np.abs(np.diff(density[s : s + length])).sum()
        for s in range(len(log_p) - length + 1)
    ]
    chosen = np.flatnonzero(labels[2:])
    assert len(chosen) == length and chosen[-1] - chosen[0] == length - 1
    assert worth[chosen[0]] == pytest.approx(max(worth), rel=1e-6, abs=1e-6)


def test_first_of_equal_windows():
    norms = np.array([-1.0, 1.0] + [0, 3] * 10, dtype=float)
    starts, abnormal = np.array([0, 2, 22]), np.array([False, True])
    for rule, first in (("log_p_differences", 2), ("lowest_log_survival", 2)):
        labels = fine_labels(norms, starts, abnormal, rule=rule)
        assert np.flatnonzero(labels).tolist() == [first, first + 1, first + 2, first + 3]


def test_only_the_upper_tail_is_abnormal_unless_both_are_asked_for():
    random = np.random.default_rng(0)
    usual = np.stack([random.normal(100, 5, 40), random.normal(10, 1, 40)], axis=1)
    wild = np.array([[120.0, 40.0], [125.0, 45.0]])
    statistics = np.concatenate([usual[np.argsort(usual[:, 0])], wild])
    upper = coarse_labels(statistics, bag_ratio=0.3)
    both = coarse_labels(statistics, bag_ratio=0.3, tail="both")
    assert upper[-2:].all() and both[-2:].all()
    assert not upper[:10].any() and upper[30:40].any()
    assert both[:10].any()
    # A window of small n_t is as unlikely as one of large n_t, and only the latter is taken.
    norms = np.concatenate([random.normal(100, 2, 50), [100.0] * 4, [60.0] * 4, [130.0] * 4])
    starts, abnormal = np.array([0, 50, 62]), np.array([False, True])
    for rule, place in (("lowest_log_survival", 58), ("lowest_log_p", 54)):
        labels = fine_labels(norms, starts, abnormal, window_share=0.34, rule=rule)
        assert np.flatnonzero(labels)[0] == place


def test_centred_statistics_do_not_know_the_sign_of_a_change_of_norm(tmp_path):
    """Anomalies that make features shorter are labelled as those that make them longer."""
    random = np.random.default_rng(0)
    for number in range(12):
        rows = 3 + 0.3 * random.normal(size=(20, 1, 16))
        if number < 4:
            rows[5:9] *= 0.4
        np.save(tmp_path / f"v{number:02d}.npy", rows.astype(np.float32))
    features = FeatureSet.open(tmp_path)

    def found(mean: np.ndarray | None) -> int:
        norms = snippet_norms(features, mean)
        abnormal = coarse_labels(video_statistics(norms, features.starts), bag_ratio=0.3)
        labels = fine_labels(norms, features.starts, abnormal)
        return sum(int(labels[20 * video + 5 : 20 * video + 9].sum()) for video in range(4))

    assert found(feature_statistics(features).mean) == 16
    assert found(None) == 0


def test_errors_name_what_is_wrong():
    with pytest.raises(UserError, match="2 or more"):
        coarse_labels(np.ones((1, 2)))
    with pytest.raises(UserError, match="same feature norms"):
        coarse_labels(np.ones((5, 2)))
    with pytest.raises(UserError, match="normal bag is empty"):
        fine_labels(np.arange(4.0), np.array([0, 4]), np.array([True]))


def test_script_writes_labels_and_judges_them(toy, tmp_path, capsys):
    folder, truth = toy
    features = open_training(folder)
    save_snippet_values(tmp_path / "truth.npz", features, truth)
    config = tmp_path / "c.yaml"
    config.write_text(f"system: frd\ndata: {{name: toy, root: {folder}}}\n")
    output = tmp_path / "labels.npz"
    main(["--cfg_file", str(config), "--output", str(output), "--truth", f"{tmp_path}/truth.npz"])
    printed = capsys.readouterr().out
    assert "videos in the abnormal bag" in printed and "snippets: precision 0." in printed
    labels = load_snippet_values(output, features)
    assert set(labels) == {0.0, 1.0} and f"{int(labels.sum())} snippets labelled" in printed


def test_snippet_values_in_both_forms(tmp_path):
    folder = tmp_path / "f"
    write_toy_features(folder, settings=ToySettings(num_videos=3, snippets=(8, 9)))
    features = open_training(folder)
    values = np.linspace(0, 1, len(features))
    save_snippet_values(tmp_path / "v.npz", features, values)
    np.save(tmp_path / "v.npy", values)
    for name in ("v.npz", "v.npy"):
        np.testing.assert_allclose(load_snippet_values(tmp_path / name, features), values)
    np.save(tmp_path / "short.npy", values[1:])
    np.save(tmp_path / "wide.npy", values * 2)
    parts = features.split_by_video(values)
    parts[features.names[1]] = values[:2]
    np.savez(tmp_path / "wrong.npz", **parts)
    for name, words in {
        "short.npy": "values for",
        "wide.npy": r"outside \[0, 1\]",
        "wrong.npz": f"video {features.names[1]}: 2 values",
        "none.npz": "no such file of snippet values",
    }.items():
        with pytest.raises(UserError, match=words):
            load_snippet_values(tmp_path / name, features)
