"""Checkpoints, cubes, data sets and features of another format are refused with what to do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from datasets.cubes.dataset import CubeSet
from datasets.manifest import load_dataset
from pre_process.features.extraction import find_unfinished
from tests.helpers.fabricated import write_scene
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset
from utils.checkpoint import load_checkpoint
from utils.errors import UserError

NEWER = r"format version 2 of newer code, this code reads format version 1; update this code"


def with_version(path, version):
    """Change ``format_version`` of a JSON file; ``None`` removes it."""
    tree = json.loads(path.read_text())
    tree |= {"format_version": version}
    path.write_text(json.dumps({k: v for k, v in tree.items() if v is not None}))


@pytest.mark.parametrize(("version", "words"), [(2, NEWER), (0, "use the code it was written")])
def test_checkpoints(tmp_path, version, words):
    path = write_checkpoint(tmp_path / "last.pth")
    assert load_checkpoint(path)["format_version"] == 1
    torch.save(torch.load(path, weights_only=True) | {"format_version": version}, path)
    with pytest.raises(UserError, match=words):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("version", "words"), [(2, NEWER), (0, "extract_samples"), (None, "extract_samples")]
)
def test_cubes(tmp_path, version, words):
    write_scene(tmp_path)
    with_version(tmp_path / "cubes" / "testing" / "01" / "manifest.json", version)
    with pytest.raises(UserError, match=words):
        CubeSet.open(tmp_path, "testing")


@pytest.mark.parametrize(
    ("version", "words"), [(2, NEWER), (0, "prepare_dataset"), ("1", "prepare_dataset")]
)
def test_data_sets(tmp_path, version, words):
    make_dataset(tmp_path, {"testing": (6,)})
    with_version(tmp_path / "dataset.json", version)
    with pytest.raises(UserError, match=words):
        load_dataset(tmp_path)


def test_features(tmp_path):
    entries = list(make_dataset(tmp_path, {"testing": (6,)}).entries)
    settings = {"backend": "hof"}
    find_unfinished(tmp_path, entries, settings, overwrite=False)
    noted = tmp_path / "features" / "testing" / "settings.json"
    np.save(noted.with_name("01.npy"), np.zeros((1, 1, 4), np.float32))
    assert json.loads(noted.read_text())["format_version"] == 1
    with_version(noted, None)  # written before there was one
    assert find_unfinished(tmp_path, entries, settings, overwrite=False) == []
    for version, words in ((2, NEWER), (0, "--overwrite")):
        with_version(noted, version)
        with pytest.raises(UserError, match=words):
            find_unfinished(tmp_path, entries, settings, overwrite=False)
