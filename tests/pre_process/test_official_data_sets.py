"""Miniatures of the official data sets at full length, with their real label files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.labels.formats import read_raw
from datasets.labels.frame_labels import load_labels
from datasets.manifest import load_dataset
from pre_process.prepare_dataset import main
from tests.helpers.layout_miniatures import picture, write_frames, write_video
from utils.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("ped1", "ped2", "avenue", "shanghaitech")


def linked_frames(folder: Path, num_frames: int, suffix: str, digits: int) -> None:
    """A folder of one image under many names, so that 40,000 frames are made in a second."""
    folder.mkdir(parents=True)
    first = folder / f"{1:0{digits}d}{suffix}"
    cv2.imwrite(str(first), picture())
    for index in range(2, num_frames + 1):
        os.link(first, folder / f"{index:0{digits}d}{suffix}")


def lengths_of(path: Path) -> list[int]:
    """Lengths of the test videos, in the order of the file."""
    return [len(values) for values in read_raw(path).values]


def make_ped2(root: Path, lengths: list[int]) -> Path:
    base = root / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    for index in range(1, 17):
        linked_frames(base / "Train" / f"Train{index:03d}", 6, ".tif", 3)
    for index, length in enumerate(lengths, 1):
        linked_frames(base / "Test" / f"Test{index:03d}", length, ".tif", 3)
    return root


def make_avenue(root: Path, lengths: list[int]) -> Path:
    base = root / "Avenue Dataset"
    training = dict.fromkeys(range(1, 17), 6) | {2: 831, 4: 1520, 7: 905}
    for index, length in training.items():
        write_video(base / "training_videos" / f"{index:02d}.avi", length)
    for index, length in enumerate(lengths, 1):
        write_video(base / "testing_videos" / f"{index:02d}.avi", length)
    return root


def make_shanghaitech(root: Path, lengths: dict[str, int]) -> Path:
    write_video(root / "training" / "videos" / "01_001.avi", 6)
    write_video(root / "training" / "videos" / "13_007.avi", 6)
    for name, length in lengths.items():
        linked_frames(root / "testing" / "frames" / name, length, ".jpg", 3)
    return root


def prepare(source: Path, output: Path, name: str, labels: Path):
    """Run the script; gives test videos, their labels and the training entries."""
    main(
        ["--name", name, "--source", str(source), "--output", str(output), "--labels", str(labels)]
    )
    dataset = load_dataset(output)
    return dataset.videos("testing"), load_labels(output), dataset.videos("training")


def check(testing, labels, expected: tuple[int, int, int]) -> None:
    """Videos, frames and abnormal frames of the test set are the official numbers."""
    assert len(testing) == expected[0]
    assert sum(entry.num_frames for entry in testing) == expected[1]
    assert sum(int(labels[entry.name].sum()) for entry in testing) == expected[2]
    assert all(len(labels[entry.name]) == entry.num_frames for entry in testing)


@pytest.mark.parametrize("label_file", ["gt_label.json", "ped2.mat"])
def test_ped2(tmp_path, vad_data, label_file):
    folder = vad_data / "data" / "ped2" / "original_artifacts"
    source = make_ped2(tmp_path / "in", lengths_of(folder / "gt_label.json"))
    testing, labels, training = prepare(source, tmp_path / "out", "ped2", folder / label_file)
    check(testing, labels, (12, 2010, 1648))
    assert len(training) == 16


def test_avenue_and_its_cut(tmp_path, vad_data):
    folder = vad_data / "data" / "avenue_labels"
    source = make_avenue(tmp_path / "in", lengths_of(folder / "gt_label.json"))
    for label_file in ("gt_label.json", "avenue.mat"):
        path = folder / label_file
        testing, labels, training = prepare(source, tmp_path / label_file, "avenue", path)
        check(testing, labels, (21, 15324, 3712))
        assert len(training) == 16
    testing, labels, training = prepare(
        source, tmp_path / "cut", "avenue19", folder / "gt_label.json"
    )
    check(testing, labels, (21, 15324, 3712))
    cut = {e.name: (e.start, e.stop) for e in training if "_" in e.name}
    assert cut == {
        "02_1": (0, 310),
        "02_2": (521, 770),
        "04_1": (0, 1459),
        "04_2": (1510, 1520),
        "07_1": (0, 740),
        "07_2": (900, 905),
    }
    assert len(training) == 19


def test_shanghaitech(tmp_path, vad_data):
    path = vad_data / "data" / "shanghaitech_labels" / "gt_label.json"
    raw = read_raw(path)
    lengths = {
        str(key).removesuffix(".npy"): len(values)
        for key, values in zip(raw.keys, raw.values, strict=True)
    }
    source = make_shanghaitech(tmp_path / "in", lengths)
    testing, labels, training = prepare(source, tmp_path / "out", "shanghaitech", path)
    check(testing, labels, (107, 40791, 17326))
    assert {entry.kind for entry in training} == {"video"}
    values = dict(zip(raw.keys, raw.values, strict=True))
    np.testing.assert_array_equal(labels["12_0142"], values["12_0142.npy"])


def test_labels_of_another_data_set_are_refused(tmp_path, vad_data, capsys):
    write_frames(tmp_path / "in" / "Train" / "Train001", 6, ".tif")
    write_frames(tmp_path / "in" / "Test" / "Test001", 6, ".tif")
    path = vad_data / "data" / "avenue_labels" / "gt_label.json"
    with pytest.raises(SystemExit):
        prepare(tmp_path / "in", tmp_path / "out", "ped2", path)
    assert "labels of 21 videos" in capsys.readouterr().err


@pytest.mark.parametrize("name", SHIPPED)
def test_each_has_a_configuration(name):
    config = load_config(ROOT / "cfgs" / f"{name}.yaml")
    assert config.data.name == name
    used = config.model.memae.mem_usage
    assert sum(used) == (2 if name == "shanghaitech" else 3)
    weights = {"avenue": (0.05, 1.0), "shanghaitech": (0.02, 1.0)}.get(name, (1.0, 0.1))
    assert (config.eval.w_flow, config.eval.w_frame) == weights
