"""What a checkpoint keeps of the training videos: their size and rate, as far as known."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from datasets.manifest import DataSet, save_dataset
from datasets.training_video import describe_training_video
from datasets.videos import describe_video
from tests.helpers.tiny_videos import HEIGHT, WIDTH, make_dataset, write_video
from utils.config.load import build_config


def configured(root: Path, **data):
    return build_config({"data": {"name": "tiny", "root": str(root), **data}}, "tiny")


def test_the_rate_of_files_is_measured_and_a_wrong_one_in_the_configuration_told(tmp_path, caplog):
    videos = [write_video(tmp_path / f"{name}.avi", 6, 8.0) for name in "ab"]
    entries = tuple(describe_video(path, "training") for path in videos)
    save_dataset(DataSet(tmp_path, "tiny", entries))
    expected = {"width": WIDTH, "height": HEIGHT, "fps": pytest.approx(8.0)}
    with caplog.at_level(logging.WARNING):
        assert describe_training_video(configured(tmp_path, fps=8.2)) == expected
        assert not caplog.records
        assert describe_training_video(configured(tmp_path)) == expected
    assert "data.fps is 25, and the training videos have 8" in caplog.text
    for path in videos:
        path.unlink()
    assert describe_training_video(configured(tmp_path, fps=8.2))["fps"] == 8.2


def test_images_have_the_rate_that_the_configuration_says_or_none(tmp_path):
    dataset = make_dataset(tmp_path / "tiny")
    assert describe_training_video(configured(dataset.root))["fps"] == 0
    assert describe_training_video(configured(dataset.root, fps=10))["fps"] == 10
    assert describe_training_video(configured(tmp_path / "none")) is None
