"""Frames made smaller in extraction: kept with the data, known to the checkpoint, never mixed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from datasets.cubes.dataset import CubeSet
from datasets.labels.regions import Region, write_regions
from datasets.manifest import limited_size, load_dataset, save_dataset, with_max_side
from datasets.training_video import describe_training_video
from datasets.videos import read_frames
from inference.evaluation_data import _as_read
from inference.fitting import Fitting
from pre_process import extract_bboxes, extract_flows, extract_samples
from tests.helpers.tiny_videos import HEIGHT, WIDTH, make_dataset
from utils.config.load import load_config

KEYS = {"boxes": {"min_area": 8}, "flow": {"preset": "ultrafast"}}


@pytest.fixture
def scene(tmp_path):
    """A data set, its configuration as arguments, and the folder."""
    dataset = make_dataset(tmp_path / "tiny", {"training": (9,), "testing": (8,)})
    tree = {"data": {"name": "tiny", "root": str(dataset.root)}, "pre_process": KEYS}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return dataset, ["--cfg_file", str(path), "--workers", "1"]


def test_cubes_boxes_and_flow_are_of_the_smaller_frames(scene, capsys):
    dataset, arguments = scene
    extract_samples.main([*arguments, "--max_side", "48"])
    assert "frames are read as 48x32" in capsys.readouterr().out
    tree = json.loads((dataset.root / "dataset.json").read_text())
    assert tree["max_side"] == 48 and tree["videos"][0]["width"] == WIDTH
    cubes = CubeSet.open(dataset.root, "training")
    assert cubes.frame_size == (48, 32) and len(cubes) and cubes.boxes.max() <= 48
    (entry,) = load_dataset(dataset.root).videos("training")
    assert {frame.shape for frame in read_frames(entry)} == {(32, 48, 3)}
    extract_bboxes.main(arguments)  # the size need not be given again
    extract_flows.main(arguments)
    video = describe_training_video(load_config(arguments[1], []))
    assert (video["width"], video["height"], video["max_side"]) == (48, 32, 48)
    fitting = Fitting.of({"video": video})
    assert fitting.size(4 * WIDTH, 4 * HEIGHT) == fitting.size(48, 32) == (48, 32)
    unknown = Fitting.of({"video": video | {"width": 0, "height": 0}})
    assert unknown.size(960, 640) == (48, 32) and unknown.size(30, 20) == (30, 20)


def test_another_size_is_refused_and_can_be_taken_back(scene, capsys):
    dataset, arguments = scene
    extract_samples.main(arguments)
    before = CubeSet.open(dataset.root, "training").fingerprint
    with pytest.raises(SystemExit) as stopped:
        extract_samples.main([*arguments, "--max_side", "48"])
    assert stopped.value.code == 2 and "max_side: None -> 48" in capsys.readouterr().err
    extract_samples.main([*arguments, "--max_side", "0"])
    assert CubeSet.open(dataset.root, "training").fingerprint == before
    extract_bboxes.main(arguments)
    from_files = ["--set", "pre_process.boxes.backend=file"]
    with pytest.raises(SystemExit):
        extract_samples.main([*arguments, "--max_side", "48", *from_files, "--overwrite"])
    message = capsys.readouterr().err
    assert "stored boxes are of frames read with max_side 0" in message


def test_regions_are_scaled_with_the_frames(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", {"testing": (8,)})
    regions = [Region("01", 0, 1, 10, 20, 30, 40)]
    write_regions(dataset.root / "regions.csv", regions)
    assert _as_read(regions, dataset) == regions
    save_dataset(with_max_side(dataset, 48))
    assert _as_read(regions, load_dataset(dataset.root)) == [Region("01", 0, 1, 5, 10, 15, 20)]


def test_sizes(scene):
    assert limited_size(3840, 2160, 1280) == (1280, 720) and limited_size(640, 480, 1280) == (
        640,
        480,
    )
    assert limited_size(3840, 2160, 0) == (3840, 2160) and min(limited_size(10_000, 1, 8)) == 2
    dataset, _ = scene
    small = with_max_side(dataset, 48)
    assert with_max_side(small, 0).entries == dataset.entries
    assert with_max_side(small, 20).entries[0].native_size == (WIDTH, HEIGHT)
    assert np.prod(limited_size(WIDTH, HEIGHT, 48)) == 48 * 32
