"""Miniatures of every layout become data sets; what does not fit is an error with a name."""

from __future__ import annotations

import errno
import io
import json
import pickle
import shutil
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from datasets.labels.frame_labels import load_labels
from datasets.labels.regions import read_regions
from datasets.manifest import load_dataset
from datasets.videos import read_frames
from pre_process.preparation import archives, avenue19
from pre_process.prepare_dataset import main
from tests.helpers.layout_miniatures import avenue, shanghaitech, ucsd, write_frames, write_video
from utils.run_folder import sole_writer

LABELS = [[0, 0, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0]]


@pytest.fixture
def prepare(tmp_path):
    """Run the script; gives (data set, labels or None)."""

    def run(*arguments, name="x"):
        output = tmp_path / "data" / name
        main(["--name", name, "--output", str(output), *map(str, arguments)])
        has_labels = (output / "labels.npz").exists()
        return load_dataset(output), load_labels(output) if has_labels else None

    return run


@pytest.fixture
def fails(tmp_path, capsys):
    """Run the script, expect exit code 2 and no data set; gives the message."""

    def run(*arguments, name="x"):
        output = tmp_path / "data" / name
        with pytest.raises(SystemExit) as stop:
            main(["--name", name, "--output", str(output), *map(str, arguments)])
        assert stop.value.code == 2
        assert not (output / "dataset.json").exists()
        return capsys.readouterr().err

    return run


def check(dataset, labels, names, kind, expected=LABELS):
    tests = dataset.videos("testing")
    assert [entry.name for entry in tests] == list(names)
    for entry, frame_labels in zip(tests, expected, strict=True):
        assert entry.kind == kind
        assert len(list(read_frames(entry))) == len(frame_labels)
        np.testing.assert_array_equal(labels[entry.name], frame_labels)


def test_ucsd_archive_with_ped1_and_ped2(tmp_path, prepare, fails):
    source = ucsd(tmp_path / "in", "UCSDped1", 1, LABELS)
    ucsd(source, "UCSDped2", 2, LABELS)
    archive = tmp_path / "UCSD_Anomaly_Dataset.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, "UCSD_Anomaly_Dataset")
    for name, has_regions in (("ped1", False), ("ped2", True)):
        dataset, labels = prepare("--source", archive, name=name)
        check(dataset, labels, ("Test001", "Test002"), "frames")
        assert [entry.name for entry in dataset.videos("training")] == ["Train001"]
        assert (dataset.root / "regions.csv").exists() == has_regions
    regions = read_regions(dataset.root / "regions.csv")
    assert {(r.x1, r.y1, r.x2, r.y2) for r in regions} == {(6, 4, 12, 8)}
    assert "several data sets" in fails("--source", archive, name="ped")


def test_avenue_archives(tmp_path, prepare):
    source = avenue(tmp_path / "in", [6, 6], LABELS)
    for name in ("Avenue Dataset", "ground_truth_demo"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as file:
            for path in sorted((source / name).rglob("*.*")):
                file.write(path, path.relative_to(source))
    dataset, labels = prepare(
        "--source", tmp_path / "Avenue Dataset.zip", "--labels", tmp_path / "ground_truth_demo.zip"
    )
    check(dataset, labels, ("01", "02"), "video")
    assert len(read_regions(dataset.root / "regions.csv")) == 6


def test_avenue19_is_cut(tmp_path, prepare, fails, monkeypatch):
    cuts = {2: ((4, 8), (12, 14)), 4: ((9, 12),), 7: ((6, 9),)}
    monkeypatch.setattr(avenue19, "EXCLUDED", cuts)
    monkeypatch.setattr(avenue19, "_SHORTEST", 3)
    source = avenue(tmp_path / "in", [6, 20, 6, 13, 6, 6, 20], LABELS)
    dataset, labels = prepare("--source", source, name="avenue19")
    check(dataset, labels, ("01", "02"), "video")
    ranges = {entry.name: (entry.start, entry.stop) for entry in dataset.videos("training")}
    assert ranges == {
        "01": (0, 6), "02_1": (0, 3), "02_2": (8, 11), "02_3": (14, 20), "03": (0, 6),
        "04_1": (0, 8), "05": (0, 6), "06": (0, 6), "07_1": (0, 5), "07_2": (9, 20),
    }  # fmt: skip
    second = next(entry for entry in dataset.entries if entry.name == "02_2")
    levels = [int(frame.mean()) for frame in read_frames(second)]
    np.testing.assert_allclose(levels, [80, 90, 100], atol=4)
    (source / "Avenue Dataset" / "training_videos" / "07.avi").unlink()
    message = fails("--source", source, "--avenue19", name="cut")
    assert "training video 07 is missing" in message


def test_shanghaitech(tmp_path, prepare):
    names = ("01_0014", "12_0142")
    source = shanghaitech(tmp_path / "in", dict(zip(names, LABELS, strict=True)))
    dataset, labels = prepare("--source", source)
    check(dataset, labels, names, "frames")
    assert dataset.videos("training")[0].kind == "video"
    assert len(read_regions(dataset.root / "regions.csv")) == 6


@pytest.mark.parametrize(("suffix", "prefix"), [(".tif", "Test0"), (".jpg", "")])
def test_hf2vad_layout_and_jpeg_pack(tmp_path, prepare, suffix, prefix):
    write_frames(tmp_path / "in" / "training" / "frames" / "01", 6, suffix)
    (tmp_path / "in" / "training" / "chunked_samples").mkdir()
    for index, frame_labels in enumerate(LABELS, 1):
        folder = tmp_path / "in" / "testing" / "frames" / f"{prefix}{index:02d}"
        write_frames(folder, len(frame_labels), suffix)
    (tmp_path / "in" / "ground_truth_demo").mkdir()
    path = tmp_path / "in" / "ground_truth_demo" / "gt_label.json"
    path.write_bytes(pickle.dumps({i: np.float64(each) for i, each in enumerate(LABELS)}))
    dataset, labels = prepare("--source", tmp_path / "in")
    check(dataset, labels, (f"{prefix}01", f"{prefix}02"), "frames")


@pytest.mark.parametrize("copy", [False, True])
def test_own_normal_videos_without_labels(tmp_path, prepare, copy):
    write_video(tmp_path / "yard" / "monday.avi", 6)
    write_frames(tmp_path / "yard" / "tuesday", 5, ".png")
    for _ in range(2):  # preparing twice is preparing once
        dataset, labels = prepare("--source", tmp_path / "yard", *["--copy"] * copy)
        assert labels is None
    assert [entry.name for entry in dataset.videos("training")] == ["monday", "tuesday"]
    for entry in dataset.entries:
        assert entry.source.is_relative_to(dataset.root)
        assert entry.source.is_symlink() != copy
        assert len(list(read_frames(entry))) == entry.num_frames
    assert not dataset.videos("testing")


def test_test_videos_without_labels_and_labels_later(tmp_path, prepare):
    write_video(tmp_path / "in" / "training" / "a.avi", 6)
    write_video(tmp_path / "in" / "testing" / "b.avi", 6)
    dataset, labels = prepare("--source", tmp_path / "in")
    assert labels is None
    (tmp_path / "gt.csv").write_text("video,start,stop\nb,2,4\n")
    dataset, labels = prepare("--source", tmp_path / "in", "--labels", tmp_path / "gt.csv")
    check(dataset, labels, ("b",), "video", [[0, 0, 1, 1, 0, 0]])
    prepare("--source", tmp_path / "in")
    assert not (dataset.root / "labels.npz").exists()


def test_errors_name_the_video(tmp_path, fails):
    source = ucsd(tmp_path / "in", "UCSDped2", 2, LABELS)
    test_folder = source / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2" / "Test"
    (test_folder / "Test002" / "006.tif").unlink()
    assert "Test002: 6 masks, but the video has 5 frames" in fails("--source", source)
    (tmp_path / "gt.json").write_text(json.dumps(LABELS))
    message = fails("--source", source, "--labels", tmp_path / "gt.json")
    assert "Test002: 6 labels, but the video has 5 frames" in message
    (tmp_path / "gt.json").write_text(json.dumps([LABELS[0]]))
    message = fails("--source", source, "--labels", tmp_path / "gt.json")
    assert "labels of 1 videos" in message or "7 labels in a row" in message
    (test_folder / "Test001" / "001.tif").write_bytes(b"II*")
    assert "Test001" in fails("--source", source)


def test_a_frame_of_another_size_is_found_when_preparing(tmp_path, fails):
    source = ucsd(tmp_path / "in", "UCSDped2", 2, LABELS)
    frame = source / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2" / "Train" / "Train001" / "004.tif"
    cv2.imwrite(str(frame), np.zeros((16, 26, 3), np.uint8))
    message = fails("--source", source)
    assert (
        "Train001: frames of mixed size: frame 3 (004.tif) is 26x16, the video is 24x16" in message
    )


def test_bad_arguments(tmp_path, fails):
    assert "--source" in fails()
    assert "either" in fails("--toy", "--source", tmp_path)
    for name in ("..", "../x", "/tmp/x"):
        assert "must be a name, not a path; give --output" in fails("--toy", name=name)
    assert "no such file or folder" in fails("--source", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no video in it" in fails("--source", tmp_path / "empty")
    write_video(tmp_path / "in" / "training" / "a.avi", 6)
    write_video(tmp_path / "in" / "testing" / "b.avi", 6)
    own = ("--source", tmp_path / "in" / "training")
    assert "none here" in fails(*own, "--labels", tmp_path / "no.mat")
    assert "check --labels" in fails("--source", tmp_path / "in", "--labels", tmp_path / "no.mat")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil_absolute.txt", "a/../../evil.txt"])
def test_archives_stay_in_their_folder(tmp_path, fails, kind, name):
    archive = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(name, "x")
    else:
        with tarfile.open(archive, "w") as tar:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    assert "outside the folder" in fails("--source", archive)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archives_with_links_are_refused(tmp_path, fails, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        info = tarfile.TarInfo("training")
        info.type, info.linkname = kind, "/etc"
        tar.addfile(info)
    assert "is a link or device" in fails("--source", tmp_path / "set.tar")


def test_damaged_archives(tmp_path, fails):
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("a/b.bin")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(100_000)))
    data = (tmp_path / "set.tar.gz").read_bytes()
    (tmp_path / "set.tar.gz").write_bytes(data[:50_000])
    assert "damaged archive" in fails("--source", tmp_path / "set.tar.gz")
    assert not list((tmp_path / "data").rglob("b.bin"))


def cut_scene(folder):
    """A training video and a test video of 60 frames, of which the second half is lost."""
    write_video(folder / "training" / "a.avi", 6)
    write_video(folder / "testing" / "b.avi", 60)
    data = (folder / "testing" / "b.avi").read_bytes()
    (folder / "testing" / "b.avi").write_bytes(data[: len(data) // 2])
    return folder


def test_a_video_shorter_than_it_declares_needs_a_flag(tmp_path, prepare, fails, caplog):
    source = cut_scene(tmp_path / "in")
    message = fails("--source", source)
    assert "b.avi: cut short: the video declares 60 frames" in message
    assert "or pass --allow_short" in message
    dataset, labels = prepare("--source", source, "--allow_short")
    (entry,) = dataset.videos("testing")
    assert 10 < entry.num_frames < 50 and labels is None
    assert len(list(read_frames(entry))) == entry.num_frames
    assert f"b.avi: {entry.num_frames} of 60 frames can be read: used" in caplog.text
    assert [each.num_frames for each in dataset.videos("training")] == [6]


def test_labels_of_a_short_video_are_checked(tmp_path, prepare, fails, caplog):
    """As long as the video is, or as it declares: then they are cut, and that is said."""
    source = cut_scene(tmp_path / "in")
    dataset, _ = prepare("--source", source, "--allow_short", name="first")
    count = dataset.videos("testing")[0].num_frames
    given = (np.arange(60) % 7 < 3).astype(np.uint8)
    for length in (60, count):
        caplog.clear()
        np.savez(tmp_path / "gt.npz", b=given[:length])
        _, labels = prepare("--source", source, "--allow_short", "--labels", tmp_path / "gt.npz")
        np.testing.assert_array_equal(labels["b"], given[:count])
        cut = f"video b: labels of 60 frames cut to the {count} that can be read"
        assert (cut in caplog.text) == (length == 60)
    (tmp_path / "gt.csv").write_text("video,start,stop\nb,2,4\nb,10,55\n")
    _, labels = prepare("--source", source, "--allow_short", "--labels", tmp_path / "gt.csv")
    assert np.flatnonzero(labels["b"]).tolist() == [2, 3, *range(10, count)]
    np.savez(tmp_path / "gt.npz", b=given[:59])
    options = ("--allow_short", "--labels", tmp_path / "gt.npz")
    assert f"59 labels, but the video has {count} frames" in fails(
        "--source", source, *options, name="other"
    )


def test_intervals_over_missing_images_are_refused(tmp_path, prepare, fails):
    """Do they count images or the numbers in their names? Labels of each image are clear."""
    write_frames(tmp_path / "in" / "training" / "01", 6)
    write_frames(tmp_path / "in" / "testing" / "02", 9)
    (tmp_path / "gt.csv").write_text("video,start,stop\n02,4,8\n")
    source = ("--source", tmp_path / "in", "--labels")
    _, labels = prepare(*source, tmp_path / "gt.csv")
    assert labels["02"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0]
    (tmp_path / "in" / "testing" / "02" / "004.jpg").unlink()
    message = fails(*source, tmp_path / "gt.csv", name="gap")
    assert "gt.csv: intervals of frames, but images of 1 test video(s) are missing" in message
    assert "(02: numbers 1 to 9 without 4, 1 in all)" in message
    np.savez(tmp_path / "gt.npz", **{"02": np.arange(8) % 2})
    _, labels = prepare(*source, tmp_path / "gt.npz")
    assert labels["02"].tolist() == [0, 1] * 4


def test_masks_and_copies_beside_own_videos(tmp_path, prepare, fails, caplog):
    caplog.set_level("INFO")
    for name in ("01", "02", "02_gt"):
        write_frames(tmp_path / "yard" / name, 6)
    dataset, _ = prepare("--source", tmp_path / "yard")
    assert [entry.name for entry in dataset.entries] == ["01", "02"]
    assert "1 left out as ground truth, no videos: 02_gt" in caplog.text
    shutil.copy(tmp_path / "yard" / "01" / "002.jpg", tmp_path / "yard" / "01" / "002 - Copy.jpg")
    message = fails("--source", tmp_path / "yard", name="copy")
    assert "01: 1 of 7 images do not look like frames of the video (002 - Copy.jpg)" in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in", "it is a web page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer"),
        (b"Rar!\x1a\x07\x00 bytes", "it is a RAR archive; unpack it"),
        (b"\x01\x02\x03\x04\xff", "neither a video nor an archive that can be unpacked; give"),
    ],
)
def test_a_source_that_is_no_archive_says_what_it_is(tmp_path, fails, data, words):
    (tmp_path / "set.zip").write_bytes(data)
    assert words in fails("--source", tmp_path / "set.zip")


def test_what_a_killed_run_left_half_written_goes(tmp_path, prepare):
    source = ucsd(tmp_path / "in", "UCSDped2", 2, LABELS)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(source, "set")
    output = tmp_path / "data" / "x"
    half = (
        output / "archive" / ".set-0123.0123456789abcdef.part",
        output / ".labels.77.part.npz",
    )
    for path in half:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.suffix == ".part" else path.write_text("half")
    prepare("--source", tmp_path / "set.tar")
    assert not [path for path in half if path.exists()]


def test_two_preparations_of_one_data_set_are_refused(tmp_path, fails):
    source = ucsd(tmp_path / "in", "UCSDped2", 2, LABELS)
    with sole_writer(tmp_path / "data" / "x"):
        assert "another run is writing here; wait for it" in fails("--source", source)


def test_a_full_disk_is_no_damaged_archive(tmp_path, fails, monkeypatch):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("training/a.png", "x")

    def full(*_):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    message = fails("--source", tmp_path / "set.zip")
    assert "damaged archive" not in message and "File too large" in message


def test_an_output_inside_the_source_is_refused_before_it_is_made(tmp_path, fails):
    source = tmp_path / "data"  # the data set would be data/x
    write_video(source / "monday.avi", 6)
    said = fails("--source", source)
    assert "lies inside --source" in said and "name a folder elsewhere" in said
    assert not (source / "x").exists()
