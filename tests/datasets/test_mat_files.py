"""MATLAB files: what is handed back, and a reader that crashes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.io

from datasets.labels.mat_files import read_mat
from utils.errors import UserError


def test_arrays_and_cells_come_back(tmp_path):
    cells = np.empty((2, 2), object)
    for place in range(4):
        cells.flat[place] = np.full((1, place + 1), place)
    scipy.io.savemat(tmp_path / "a.mat", {"gt": cells, "b": np.eye(2), "../c": np.ones(3)})
    found = read_mat(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["b"], np.eye(2))
    assert [int(cell[0, 0]) for cell in found["gt"]] == [0, 2, 1, 3]  # column by column
    assert list(read_mat(tmp_path / "a.mat", ["b"])) == ["b"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mat"]


def test_a_crash_of_the_reader_is_an_error(tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -BUS $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(UserError, match=r"a.mat: .*damaged \(reading it .* crash: Bus error\)"):
        read_mat(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"nothing", "not a MATLAB file or damaged"), (None, "No such file"),
     ({"s": {"field": 1}}, "neither numbers, text nor cells")],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content, words):
    path = tmp_path / "a.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        scipy.io.savemat(path, content)
    with pytest.raises(UserError, match=words):
        read_mat(path)
