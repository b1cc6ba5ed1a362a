"""Features in one .npz a split become a data set; files that do not fit are refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.features.labels import open_split
from pre_process.import_features import main
from utils.config.load import load_config

NAMES = ["b_walk", "a_run"]


def contents(**changes):
    random = np.random.default_rng(0)
    labels = np.zeros(20, np.uint8)
    labels[13:15] = 1
    whole = {
        "features": random.normal(size=(5, 2, 256)).astype(np.float16),
        "lengths": np.array([3, 2]),
        "names": np.array(NAMES),
        "frame_labels": labels,
    }
    return {key: value for key, value in (whole | changes).items() if value is not None}


def run(tmp_path, training, testing, *more):
    np.savez(tmp_path / "train.npz", **training)
    np.savez(tmp_path / "test.npz", **testing)
    files = ["--training", f"{tmp_path}/train.npz", "--testing", f"{tmp_path}/test.npz"]
    main(["--name", "x", "--output", str(tmp_path / "data"), *files, *more])


def test_files_become_a_data_set(tmp_path, capsys):
    other = np.random.default_rng(1).normal(size=(5, 2, 256)).astype(np.float16)
    training, testing = contents(), contents(features=other)
    other[3:] = training["features"][:2]
    testing["features"] = other
    training["lengths"] = np.array([2, 3])
    run(tmp_path, training, testing)
    printed = capsys.readouterr().out
    assert "testing: 2 videos, 5 snippets, 2 crops of 256 values" in printed
    assert "data.frames_per_snippet 4; 1 videos with an anomaly, 10.0% of the frames" in printed
    assert "test videos with the features of training videos: a_run (b_walk)" in printed
    (tmp_path / "c.yaml").write_text(
        f"system: frd\ndata: {{name: x, root: {tmp_path}/data, frames_per_snippet: 4}}\n"
    )
    config = load_config(tmp_path / "c.yaml", system="frd")
    features, labels = open_split(config.data, "testing")
    assert features.names == ["a_run", "b_walk"]
    np.testing.assert_array_equal(features.read(0, 2), other[3:])
    np.testing.assert_array_equal(labels["a_run"], testing["frame_labels"][12:])
    with np.load(tmp_path / "data" / "truth.npz") as truth:  # labels 13 and 14 are of snippet 3
        assert {name: truth[name].tolist() for name in truth} == {
            "b_walk": [0, 0],
            "a_run": [0, 1, 0],
        }


def test_features_there_are_kept_unless_told(tmp_path, capsys):
    run(tmp_path, contents(frame_labels=None), contents(frame_labels=None))
    assert "no labels" in capsys.readouterr().out
    assert not (tmp_path / "data" / "labels.npz").exists()
    renamed = contents(names=np.array(["c", "d"]))
    with pytest.raises(SystemExit):
        run(tmp_path, renamed, renamed)
    assert "pass --overwrite" in capsys.readouterr().err
    run(tmp_path, renamed, renamed, "--overwrite")
    found = (tmp_path / "data" / "features" / "testing").iterdir()
    assert sorted(path.name for path in found) == ["c.npy", "d.npy"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lengths": None}, "lacks lengths"),
        ({"lengths": np.array([3, 3])}, "add up to 6 snippets, but features hold 5"),
        ({"lengths": np.array([5, 0])}, "1 or more"),
        ({"lengths": np.array([2**62, 2**62, 2**62, 2**62, 5])}, "but features hold 5"),
        ({"names": np.array(["a"])}, "names are 2 texts"),
        ({"names": np.array(["a", "a"])}, "names a twice"),
        ({"names": np.array(["a", "../a"])}, "cannot name a video's file"),
        ({"frame_labels": np.zeros(21, np.uint8)}, "do not divide among 5 snippets"),
        ({"frame_labels": np.full(20, 2)}, "other values than 0"),
        ({"features": np.full((5, 2, 256), np.nan, np.float32)}, "snippet 0 holds NaN"),
        ({"features": np.ones((5, 2, 256), np.int64)}, "features are int64"),
        ({"features": np.ones((5, 64, 256), np.float32)}, "at most 10 crops"),
        ({"features": np.ones((5, 3, 256), np.float32)}, "the splits differ"),
    ],
)
def test_what_is_refused(tmp_path, changes, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, contents(), contents(**changes))
    assert stopped.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_other_files_are_refused(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "b.npz").write_bytes(b"PK not a zip")
    for name, words in (("a.npy", "not a readable .npz"), ("b.npz", "not a readable .npz"),
                        ("c.npz", "no such file")):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["--name", "x", "--testing", str(tmp_path / name), "--output", str(tmp_path)])
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--name", "x"])
    assert "name --training" in capsys.readouterr().err
