"""Cubes on disk: written whole, read back exactly, damage noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.cubes.dataset import CubeSet
from datasets.cubes.files import read_manifest, write_cubes
from datasets.cubes.settings import changed_settings, flatten_settings
from datasets.manifest import DataSet, VideoEntry, save_dataset
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError
from utils.files import write_json
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


def settings_of(config: PreProcessConfig) -> dict:
    tree = config.model_dump(mode="json")
    return flatten_settings("boxes", tree["boxes"]) | flatten_settings("flow", tree["flow"])


def extract_again(root: Path, settings: dict) -> None:
    for name, counts in COUNTS.items():
        write_video(root, name, counts, settings)


def test_cubes_of_other_settings_than_configured_are_refused(root: Path) -> None:
    config = PreProcessConfig()
    extract_again(root, settings_of(config))
    assert len(CubeSet.open(root, "training", pre_process=config)) == 11
    without_effect = PreProcessConfig(boxes={"batch_size": 3}, device="cpu")
    CubeSet.open(root, "training", pre_process=without_effect)
    other = PreProcessConfig(boxes={"min_area": 400}, flow={"preset": "fast"})
    message = r"boxes\.min_area: 100\.0 -> 400\.0; flow\.preset: 'medium' -> 'fast'; restore"
    with pytest.raises(UserError, match=message):
        CubeSet.open(root, "training", pre_process=other)
    extract_again(root, {"flow.preset": "medium"})  # of a time before the other keys
    CubeSet.open(root, "training", pre_process=config)


def test_weights_that_moved_are_the_same_and_those_replaced_are_not(root: Path, tmp_path) -> None:
    weights = tmp_path / "yolox.onnx"
    weights.write_bytes(b"one")
    config = PreProcessConfig(boxes={"backend": "yolox", "weights": str(weights)})
    extract_again(root, settings_of(config))
    weights.write_bytes(b"two")
    with pytest.raises(UserError, match=r"boxes\.weights: 'yolox\.onnx sha256"):
        CubeSet.open(root, "training", pre_process=config)
    weights.unlink()
    CubeSet.open(root, "training", pre_process=config)
    renamed = PreProcessConfig(boxes={"backend": "yolox", "weights": "yolox_tiny.onnx"})
    with pytest.raises(UserError, match=r"-> 'yolox_tiny\.onnx'"):
        CubeSet.open(root, "training", pre_process=renamed)


def test_boxes_and_flow_that_were_made_again_are_noticed(root: Path) -> None:
    config = PreProcessConfig(boxes={"backend": "file"}, flow={"backend": "file"})
    made_with = {"boxes.made_with.min_area": 100, "flow.made_with.preset": "fast"}
    extract_again(root, settings_of(config) | made_with)
    CubeSet.open(root, "training", pre_process=config)
    (root / "boxes" / "training").mkdir(parents=True)
    np.savez(root / "boxes" / "training" / "1.npz", settings=np.array('{"min_area": 100}'))
    write_json(root / "flows" / "training" / "1.json", {"preset": "fast"})
    CubeSet.open(root, "training", pre_process=config)
    np.savez(root / "boxes" / "training" / "1.npz", settings=np.array('{"min_area": 200}'))
    with pytest.raises(UserError, match=r"boxes\.made_with\.min_area: 100 -> 200"):
        CubeSet.open(root, "training", pre_process=config)
    write_json(root / "flows" / "training" / "1.json", {"preset": "medium"})
    with pytest.raises(UserError, match=r"flow\.made_with\.preset: 'fast' -> 'medium'"):
        CubeSet.open(root, "training", pre_process=config)


def test_imported_cubes_are_taken_on_trust_and_that_is_said(root: Path, caplog) -> None:
    caplog.set_level("INFO")
    extract_again(root, {"made_by": "published files"})
    CubeSet.open(root, "training", pre_process=PreProcessConfig())
    assert "extracted with is not known (published files)" in caplog.text


def test_cubes_of_a_video_that_was_exchanged_are_refused(root: Path) -> None:
    write_video(root, "10", [1, 4])
    with pytest.raises(UserError, match=r"10: cubes of a video of 2 frames of .* says 3"):
        CubeSet.open(root, "training")
