"""Writes that fail, as on a full disk: clear errors, nothing half-written, whole when run again."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.repository.test_structure import ROOT
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import UserError, describe_os_error
from utils.files import atomic_path, write_text
from visualization.video_writer import VideoWriter

PICTURES = np.random.default_rng(0).integers(0, 255, (120, 64, 96, 3), np.uint8)


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_finds_no_space_leaves_the_one_before(tmp_path):
    path = write_checkpoint(tmp_path / "last.pth")
    old = load_checkpoint(path)
    with longest_file(10_000), pytest.raises(UserError, match=r"last.pth: cannot be written.*kept"):
        save_checkpoint(path, old | {"epoch": 7})
    assert load_checkpoint(path)["epoch"] == old["epoch"]
    assert [each.name for each in tmp_path.iterdir()] == ["last.pth"]


def test_texts_and_arrays_that_find_no_space_name_their_file(tmp_path):
    with longest_file(1000), pytest.raises(OSError) as failed:
        write_text(tmp_path / "a.json", "x" * 5000)
    told = describe_os_error(failed.value)
    assert told.startswith(f"{tmp_path / 'a.json'}: File too large; a limit of the file system")
    with (
        longest_file(1000),
        pytest.raises(UserError, match=r"a.npy: not written whole.*free some"),
        atomic_path(tmp_path / "a.npy") as temporary,
    ):
        np.save(temporary, np.zeros(100_000))
    assert list(tmp_path.iterdir()) == []


def test_a_full_quota_says_what_to_do():
    told = describe_os_error(OSError(errno.EDQUOT, "Disk quota exceeded", "a"))
    assert told.startswith("a: Disk quota exceeded; free some of your space")


def write_video(path: Path, in_fragments: bool) -> None:
    with VideoWriter(path, 25.0, in_fragments) as out:
        for picture in PICTURES:
            out.write(picture)


@pytest.mark.parametrize(("in_fragments", "left"), [(False, []), (True, [".a.part.mp4"])])
@pytest.mark.parametrize("size", [1000, 60_000])
def test_a_video_that_is_cut_short_is_noticed(tmp_path, in_fragments, left, size):
    with (
        longest_file(size),
        pytest.raises(UserError, match=r"pictures were not written whole \(File too large\)"),
    ):
        write_video(tmp_path / "a.mp4", in_fragments)
    assert [each.name for each in tmp_path.iterdir()] == left
    write_video(tmp_path / "a.mp4", in_fragments)
    assert (tmp_path / "a.mp4").exists()


def test_programs_tell_a_full_disk_and_go_on_once_it_is_mended():
    scenes = ("extraction", "ml_memae_sc", "evaluation", "inference")
    command = [
        sys.executable,
        "-m",
        "tests.robustness.harness.full_disk",
        "--trials",
        "1",
        "--seed",
        "1",
    ]
    done = subprocess.run(
        [*command, "--scenes", *scenes], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    met = [line for line in done.stdout.splitlines() if "met a full disk" in line]
    assert len(met) == len(scenes) and sum(": 1 of 1" in line for line in met) >= 3, done.stdout
