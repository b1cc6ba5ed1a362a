"""Edited checkpoints through ``infer.py``: a clear error or a whole result, nothing else."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

import infer
from tests.helpers.edits import NASTY, places, replaced
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset
from utils.checkpoint import load_tensors

EDITS = 30


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One video of eight frames."""
    root = make_dataset(tmp_path_factory.mktemp("videos"), {"testing": (8,)}).root
    return root / "testing" / "frames"


def infer_with(path, videos, output) -> int:
    """The exit code."""
    try:
        infer.main(["--model", str(path), "--source", str(videos), "--output", str(output),
                    "--overwrite"])  # fmt: skip
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_as_it_is_it_scores(videos, tmp_path):
    assert infer_with(write_checkpoint(tmp_path / "last.pth"), videos, tmp_path / "out") == 0


def test_random_edits_end_well(videos, tmp_path, capsys):
    path = write_checkpoint(tmp_path / "last.pth")
    whole = load_tensors(path)
    every = list(itertools.product(places(whole), NASTY))
    codes = []
    for at, value in random.Random(0).sample(every, EDITS):
        torch.save(replaced(whole, at, value), path)
        try:
            code = infer_with(path, videos, tmp_path / "out")
        except Exception as error:
            raise AssertionError(f"{at} = {str(value)[:50]}") from error
        assert code in (0, 2), f"{at} = {str(value)[:50]}"
        assert code == 0 or str(path) in capsys.readouterr().err, f"{at} = {str(value)[:50]}"
        codes.append(code)
    assert codes.count(2) > EDITS / 4
