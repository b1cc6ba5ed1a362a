"""The extraction scripts end to end on tiny videos: resume, changed settings, faults."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from datasets.cubes.dataset import CubeSet
from datasets.manifest import DataSet
from pre_process import extract_bboxes, extract_flows, extract_samples
from tests.helpers.tiny_videos import make_dataset
from utils.npy_writer import NpyWriter

FAST = "pre_process.flow.preset=ultrafast"
SMALL = "pre_process.boxes.min_area=30"


@pytest.fixture
def dataset(tmp_path: Path) -> DataSet:
    return make_dataset(tmp_path / "tiny")


def arguments(dataset: DataSet, *more: str) -> list[str]:
    path = dataset.root / "tiny.yaml"
    path.write_text(yaml.safe_dump({"data": {"name": "tiny", "root": str(dataset.root)}}))
    return ["--cfg_file", str(path), "--set", FAST, SMALL, *more]


def extract(dataset: DataSet, *more: str, workers: int = 1) -> None:
    extract_samples.main([*arguments(dataset, *more), "--workers", str(workers)])


def content(dataset: DataSet, split: str = "training") -> tuple[np.ndarray, ...]:
    cubes = CubeSet.open(dataset.root, split, verify=True)
    return cubes.video_index, cubes.frames, cubes.boxes, *cubes.gather(np.arange(len(cubes)))


def failure(capsys: pytest.CaptureFixture, run: object, *given: object) -> str:
    with pytest.raises(SystemExit) as stop:
        run(*given)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_extraction_gives_cubes_of_both_splits(dataset: DataSet, capsys) -> None:
    extract(dataset)
    said = capsys.readouterr().out
    assert "3 videos, 3 to extract" in said and "MiB of disk" in said and "frames/s" in said
    cubes = CubeSet.open(dataset.root, "training", verify=True)
    assert len(cubes) > 20 and cubes.num_frames == {"01": 9, "02": 12}
    assert cubes.settings["flow.preset"] == "ultrafast"
    appearance, motion = cubes.gather(np.arange(len(cubes)))
    # Two squares of 14 and 10 px: the newest frame of a cube is bright, and most cubes move.
    assert appearance[:, 4].mean() > 100
    assert np.median(np.abs(motion[cubes.frames > 4].astype(np.float32)).max(axis=(1, 2, 3, 4))) > 1
    assert len(CubeSet.open(dataset.root, "testing")) > 0


def test_workers_and_batches_do_not_change_the_cubes(dataset: DataSet) -> None:
    extract(dataset)
    expected = content(dataset)
    batches = "pre_process.boxes.batch_size=3", "pre_process.flow.batch_size=2"
    shutil.rmtree(dataset.root / "cubes")
    extract(dataset, *batches, workers=2)
    for one, other in zip(expected, content(dataset), strict=True):
        np.testing.assert_array_equal(one, other)


def test_finished_videos_are_skipped_and_lost_ones_extracted(dataset: DataSet, capsys) -> None:
    extract(dataset)
    expected = content(dataset)
    kept = dataset.root / "cubes" / "training" / "01" / "appearance.npy"
    shutil.rmtree(dataset.root / "cubes" / "training" / "02")
    time = kept.stat().st_mtime_ns
    capsys.readouterr()
    extract(dataset)
    assert "3 videos, 1 to extract" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == time
    for one, other in zip(expected, content(dataset), strict=True):
        np.testing.assert_array_equal(one, other)
    extract(dataset)
    assert "0 to extract" in capsys.readouterr().out


def test_changed_settings_are_refused_until_overwrite(dataset: DataSet, capsys) -> None:
    extract(dataset)
    error = failure(capsys, extract, dataset, "pre_process.flow.preset=fast")
    assert "flow.preset: 'ultrafast' -> 'fast'" in error and "--overwrite" in error
    extract_samples.main(
        [*arguments(dataset, "pre_process.flow.preset=fast"), "--overwrite", "--workers", "1"]
    )
    assert CubeSet.open(dataset.root, "training").settings["flow.preset"] == "fast"


def test_a_replaced_video_is_noticed(dataset: DataSet, capsys) -> None:
    extract(dataset)
    first = dataset.videos("testing")[0].source / "000.png"
    first.write_bytes(first.read_bytes() + b"\0")
    assert "testing/01: made with other settings: the video itself" in failure(
        capsys, extract, dataset
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_video_is_named_and_the_others_are_kept(
    dataset: DataSet, capsys, workers: int
) -> None:
    (dataset.videos("training")[0].source / "004.png").write_bytes(b"junk")
    error = failure(capsys, extract_samples.main, [*arguments(dataset), "--workers", str(workers)])
    assert "training video 01" in error and "004.png" in error
    finished = [path.parent.name for path in dataset.root.glob("cubes/*/[!.]*/manifest.json")]
    assert "02" in finished, "the longest video goes first"
    assert not list(dataset.root.glob("cubes/*/.*part*")), "nothing half-written stays"


def test_a_full_disk_loses_nothing_finished(dataset: DataSet, capsys, monkeypatch) -> None:
    written = []
    append = NpyWriter.append

    def append_until_full(array: NpyWriter, rows: np.ndarray) -> None:
        written.append(len(rows))
        if len(written) > 4 * 15:  # the second video, in the middle
            raise OSError(errno.ENOSPC, "No space left on device")
        append(array, rows)

    monkeypatch.setattr(NpyWriter, "append", append_until_full)
    error = failure(capsys, extract, dataset)
    assert "No space left on device; free some space" in error and "video" in error
    monkeypatch.undo()
    assert [path.parent.name for path in dataset.root.glob("cubes/*/*/manifest.json")] == ["02"]
    assert not list(dataset.root.glob("cubes/*/.*part*"))
    extract(dataset)
    assert len(content(dataset)[0]) > 20


def test_what_a_killed_process_left_is_cleared(dataset: DataSet) -> None:
    folder = dataset.root / "cubes" / "training"
    left, not_ours = folder / ".01.0123456789abcdef.part", folder / ".photo.partly-edited.jpg"
    left.mkdir(parents=True)
    (left / "appearance.npy").write_bytes(b"half")
    not_ours.write_bytes(b"kept")
    extract(dataset)
    assert not left.exists() and not_ours.read_bytes() == b"kept"


def test_a_disk_that_is_too_small_is_noticed_before_work(
    dataset: DataSet, capsys, monkeypatch
) -> None:
    usage = shutil._ntuple_diskusage(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "cube extraction needs about" in failure(capsys, extract, dataset)
    assert not (dataset.root / "cubes").exists()


def test_videos_shorter_than_a_cube_are_named(tmp_path: Path, capsys) -> None:
    short = make_dataset(tmp_path / "short", {"training": (9, 4), "testing": (3,)})
    error = failure(capsys, extract, short)
    assert "shorter than 5 frames: training/02 (4), testing/01 (3)" in error


def test_stored_boxes_give_the_cubes_of_boxes_on_the_fly(dataset: DataSet, capsys) -> None:
    extract(dataset)
    expected = content(dataset)
    extract_bboxes.main([*arguments(dataset), "--workers", "1", "--draw", "2"])
    assert len(list((dataset.root / "boxes" / "drawn").glob("*.png"))) == 2 * 3
    shutil.rmtree(dataset.root / "cubes")
    extract(dataset, "pre_process.boxes.backend=file")
    for one, other in zip(expected, content(dataset), strict=True):
        np.testing.assert_array_equal(one, other)
    # Boxes made anew with another threshold: the cubes are those of other boxes now.
    more = arguments(dataset, "pre_process.boxes.min_area=60")
    assert "boxes.min_area: 30" in failure(capsys, extract_bboxes.main, more)
    extract_bboxes.main([*more, "--workers", "1", "--overwrite"])
    error = failure(capsys, extract, dataset, "pre_process.boxes.backend=file")
    assert "min_area" in error


def test_stored_flow_gives_the_cubes_of_flow_on_the_fly(dataset: DataSet, capsys) -> None:
    extract(dataset)
    expected = content(dataset)
    extract_flows.main([*arguments(dataset), "--workers", "1"])
    assert "MiB of disk" in capsys.readouterr().out
    shutil.rmtree(dataset.root / "cubes")
    extract(dataset, "pre_process.flow.backend=file")
    *same, motion = content(dataset)
    for one, other in zip(expected[:-1], same, strict=True):
        np.testing.assert_array_equal(one, other)
    # Stored flow is float16 before it is resized.
    np.testing.assert_allclose(
        motion.astype(np.float32), expected[-1].astype(np.float32), atol=2e-2, rtol=2e-3
    )


def test_scripts_refuse_to_write_what_they_read(dataset: DataSet, capsys) -> None:
    boxes = arguments(dataset, "pre_process.boxes.backend=file")
    assert "that reads what this script writes" in failure(capsys, extract_bboxes.main, boxes)
    flow = arguments(dataset, "pre_process.flow.backend=file")
    assert "that reads what this script writes" in failure(capsys, extract_flows.main, flow)
    assert "--workers -1" in failure(
        capsys, extract_samples.main, [*arguments(dataset), "--workers", "-1"]
    )
