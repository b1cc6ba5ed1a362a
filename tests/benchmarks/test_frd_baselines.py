"""What features tell without learning: the table, and labels of snippets."""

from __future__ import annotations

import numpy as np

from benchmarks import frd_baselines
from datasets.features.dataset import FeatureSet
from datasets.toy.features import ToySettings, write_toy_features
from utils.config.frd import FeatureDataConfig


def test_baselines_of_the_made_up_features(tmp_path, capsys):
    write_toy_features(tmp_path / "data", settings=ToySettings(num_videos=6, snippets=(8, 14)))
    (tmp_path / "c.yaml").write_text(
        f"system: frd\ndata: {{name: toy, root: {tmp_path / 'data'}}}\n"
    )
    frd_baselines.main(["--cfg_file", str(tmp_path / "c.yaml")])
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split("  ")[0] for row in rows] == [
        "feature norm",
        "distance to the mean feature",
        "distance to each crop's mean",
        "distance to the 5 nearest of other videos",
    ]
    assert all(50 < float(row.split()[-4]) <= 100 for row in rows)


def test_labels_of_snippets_are_those_of_most_of_their_frames(tmp_path):
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "a.npy", np.ones((3, 1, 256), np.float32))
    np.savez(tmp_path / "frames.npz", a=np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0], np.uint8))
    data = FeatureDataConfig(name="x", frames_per_snippet=4)
    features = FeatureSet.open(tmp_path / "f")
    found = frd_baselines.snippet_truth(tmp_path / "frames.npz", features, data)
    assert found.tolist() == [0, 1, 0]
    np.savez(tmp_path / "snippets.npz", a=np.array([1, 0, 1], np.uint8))
    found = frd_baselines.snippet_truth(tmp_path / "snippets.npz", features, data)
    assert found.tolist() == [1, 0, 1]
