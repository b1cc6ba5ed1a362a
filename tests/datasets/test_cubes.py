"""Cubes on disk: written whole, read back exactly, damage noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.cubes.dataset import CubeSet, changed_settings
from datasets.cubes.files import read_manifest, write_cubes
from datasets.manifest import DataSet, VideoEntry, save_dataset
from utils.errors import UserError
from utils.npy_writer import NpyWriter

SETTINGS = {"flow.preset": "fast"}
COUNTS = {"1": [2, 0, 3], "2": [0, 0], "10": [1, 4, 1]}


def random_cubes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        rng.uniform(0, 30, (n, 4)).astype(np.float32),
        rng.integers(0, 256, (n, 5, 32, 32, 3), dtype=np.uint8),
        rng.normal(size=(n, 4, 32, 32, 2)).astype(np.float16),
    )


def write_video(root: Path, name: str, counts: list[int], settings: dict = SETTINGS) -> list:
    rng = np.random.default_rng(int(name))
    description = {"video": name, "split": "training", "num_frames": len(counts)}
    description |= {"width": 40, "height": 30, "settings": settings}
    frames = []
    with write_cubes(root / "cubes" / "training" / name, description) as writer:
        for index, count in enumerate(counts):
            cubes = random_cubes(rng, count)
            writer.append(index, *cubes)
            frames.append(cubes)
    return frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    entries = [
        VideoEntry(name, "training", tmp_path / name, "frames", 0, len(counts), 40, 30)
        for name, counts in COUNTS.items()
    ]
    save_dataset(DataSet(tmp_path, "tiny", tuple(entries)))
    for name, counts in COUNTS.items():
        write_video(tmp_path, name, counts)
    return tmp_path


def test_what_is_written_is_read_back(root: Path) -> None:
    written = [cubes for name in COUNTS for cubes in write_video(root, name, COUNTS[name])]
    cubes = CubeSet.open(root, "training", verify=True)
    assert cubes.videos == ["1", "2", "10"]  # natural order, not that of the alphabet
    assert cubes.num_frames == {"1": 3, "2": 2, "10": 3}
    assert cubes.frame_size == (40, 30) and cubes.settings == SETTINGS
    assert len(cubes) == 11
    assert cubes.video_index.tolist() == [0] * 5 + [2] * 6
    assert cubes.frames.tolist() == [0, 0, 2, 2, 2, 0, 1, 1, 1, 1, 2]
    boxes, appearance, motion = (np.concatenate(parts) for parts in zip(*written, strict=True))
    np.testing.assert_array_equal(cubes.boxes, boxes)
    order = np.random.default_rng(0).permutation(11)
    got_appearance, got_motion = cubes.gather(order)
    np.testing.assert_array_equal(got_appearance, appearance[order])
    np.testing.assert_array_equal(got_motion, motion[order])
    assert got_appearance.dtype == np.uint8 and got_motion.dtype == np.float16


def test_gathering_nothing_and_out_of_range(root: Path) -> None:
    cubes = CubeSet.open(root, "training")
    assert cubes.gather(np.array([], int))[0].shape == (0, 5, 32, 32, 3)
    for wrong in (-1, 11):
        with pytest.raises(IndexError):
            cubes.gather(np.array([wrong]))


def test_gathered_cubes_are_copies(root: Path) -> None:
    cubes = CubeSet.open(root, "training")
    first = cubes.gather(np.array([0]))[0]
    before = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(cubes.gather(np.array([0]))[0], before)


def test_fingerprint_follows_the_content(root: Path) -> None:
    before = CubeSet.open(root, "training").fingerprint
    assert CubeSet.open(root, "training").fingerprint == before
    write_video(root, "1", [1, 1, 3])
    assert CubeSet.open(root, "training").fingerprint != before


def test_a_chosen_video_alone(root: Path) -> None:
    assert len(CubeSet.open(root, "training", videos=["10"])) == 6


def test_missing_cubes_say_what_to_run(root: Path) -> None:
    with pytest.raises(UserError, match=r"no cubes there.*extract_samples"):
        CubeSet.open(root, "testing")
    (root / "cubes" / "training" / "2" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"training/2: this video has no cubes"):
        CubeSet.open(root, "training")


def test_videos_with_other_settings_are_named(root: Path) -> None:
    write_video(root, "10", [1], settings={"flow.preset": "medium"})
    with pytest.raises(UserError, match=r"training/10.*flow.preset: 'fast' -> 'medium'"):
        CubeSet.open(root, "training")


@pytest.mark.parametrize("name", ["appearance", "motion", "boxes", "frames"])
def test_truncated_arrays_are_noticed_on_opening(root: Path, name: str) -> None:
    path = root / "cubes" / "training" / "1" / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"{name}.npy: damaged cubes.*extract_samples"):
        CubeSet.open(root, "training")


def test_arrays_of_another_shape_are_noticed(root: Path) -> None:
    np.save(root / "cubes" / "training" / "1" / "boxes.npy", np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match=r"boxes.npy: damaged cubes: holds \(4, 4\)"):
        CubeSet.open(root, "training")


def test_changed_bytes_are_noticed_by_their_checksum(root: Path) -> None:
    path = root / "cubes" / "training" / "10" / "appearance.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    CubeSet.open(root, "training")
    with pytest.raises(UserError, match=r"10/appearance.npy: damaged cubes: its checksum"):
        CubeSet.open(root, "training", verify=True)


def test_a_broken_manifest_is_an_error_not_a_new_video(root: Path) -> None:
    path = root / "cubes" / "training" / "1" / "manifest.json"
    for text, message in (("{", "not a JSON file"), ("[1]", "not a manifest")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_manifest(path.parent)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cubes" / "training" / "1"
    with pytest.raises(OSError, match="disk"), write_cubes(folder, {"settings": {}}) as writer:
        writer.append(0, *random_cubes(np.random.default_rng(0), 2))
        raise OSError(28, "disk full")
    assert list(folder.parent.iterdir()) == []


def test_wrongly_shaped_rows_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="rows of shape"),
        NpyWriter(tmp_path / "a.npy", (3,), "<f4") as array,
    ):
        array.append(np.zeros((2, 4), np.float32))


@given(st.lists(hnp.arrays(np.int32, st.tuples(st.integers(0, 5), st.just(2))), max_size=6))
def test_a_grown_array_equals_the_whole(tmp_path_factory, parts: list[np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("grown") / "a.npy"
    with NpyWriter(path, (2,), "<i4") as array:
        for part in parts:
            array.append(part)
    expected = np.concatenate([np.zeros((0, 2), np.int32), *parts])
    np.testing.assert_array_equal(np.load(path), expected)


def test_changed_settings_name_keys_on_either_side() -> None:
    assert changed_settings({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 0}) == [
        "b: 2 -> 3",
        "c: None -> 0",
    ]
