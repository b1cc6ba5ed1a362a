"""Videos are found, probed and read; what cannot be read is an error that names the video."""

from __future__ import annotations

import json
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from datasets.manifest import DataSet, VideoEntry, load_dataset, natural_key, save_dataset
from datasets.video_folders import find_videos
from datasets.videos import describe_video, probe, read_frames
from utils.errors import UserError

WIDTH, HEIGHT = 40, 24


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    frame = np.full((height, width, 3), (20 * index + 10) % 250, np.uint8)
    frame[:, : width // 2, 0] = 200
    return frame


def write_video(path, num_frames: int = 9, codec: str = "MJPG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (WIDTH, HEIGHT))
    for index in range(num_frames):
        writer.write(picture(index))
    writer.release()
    return path


def write_frames(folder, num_frames: int = 9, suffix: str = ".png"):
    folder.mkdir(parents=True)
    for index in range(num_frames):
        cv2.imwrite(str(folder / f"{index + 1}{suffix}"), picture(index))
    return folder


@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".bmp", ".JPEG", ".webp"])
def test_folders_of_any_image(tmp_path, suffix):
    entry = describe_video(write_frames(tmp_path / "01", 11, suffix), "training")
    assert (entry.kind, entry.num_frames, entry.width, entry.height) == ("frames", 11, 40, 24)
    frames = list(read_frames(entry))
    # natural order: 2 comes before 10 and 11
    levels = [int(frame[10, 30, 1]) for frame in frames]
    np.testing.assert_allclose(levels, [20 * index + 10 for index in range(11)], atol=3)
    assert frames[0].dtype == np.uint8


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "MJPG")]
)
def test_video_files(tmp_path, suffix, codec):
    entry = describe_video(write_video(tmp_path / f"01{suffix}", 9, codec), "testing")
    assert (entry.name, entry.kind, entry.num_frames) == ("01", "video", 9)
    frames = list(read_frames(entry))
    np.testing.assert_allclose(frames[7][5, 5], [200, 150, 150], atol=6)
    assert frames[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_a_cut_video_is_the_same_frames(tmp_path, kind):
    make = write_video if kind == "video" else write_frames
    entry = describe_video(make(tmp_path / ("01.avi" if kind == "video" else "01")), "training")
    whole = list(read_frames(entry))
    piece = list(read_frames(replace(entry, start=3, stop=7)))
    np.testing.assert_array_equal(piece, whole[3:7])


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mp4"])
def test_titles_that_are_not_utf8(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Hof Süd"
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.count("Süd".encode()) == 1
    path.write_bytes(data.replace("Süd".encode(), b"S\xfc\xffd"))
    assert len(list(read_frames(describe_video(path, "testing")))) == 6


def test_videos_are_found_in_natural_order(tmp_path):
    for name in ("v10.avi", "v2.avi"):
        write_video(tmp_path / name, 1)
    write_frames(tmp_path / "v1", 1)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in find_videos(tmp_path)] == ["v1", "v2.avi", "v10.avi"]


def test_folders_without_videos(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_videos(tmp_path / "nothing")
    with pytest.raises(UserError, match="no video in it"):
        find_videos(tmp_path)
    write_video(tmp_path / "a.avi", 1)
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b: empty video folder"):
        find_videos(tmp_path)
    with pytest.raises(UserError, match="b: empty video folder"):
        probe(tmp_path / "b")
    (tmp_path / "b").rmdir()
    write_frames(tmp_path / "a", 1)
    with pytest.raises(UserError, match="also named 'a'"):
        find_videos(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_truncated_videos(tmp_path, share, suffix, codec):
    path = write_video(tmp_path / f"cut{suffix}", 60, codec)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=rf"cut\{suffix}: (cut short|not a video|no frame)"):
        probe(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_truncated_images(tmp_path, suffix, share):
    folder = write_frames(tmp_path / "video7", 3, suffix)
    entry = describe_video(folder, "training")
    noisy = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(folder / f"2{suffix}"), noisy)
    data = (folder / f"2{suffix}").read_bytes()
    (folder / f"2{suffix}").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"not a whole image .video video7"):
        list(read_frames(entry))


def test_frames_of_mixed_size(tmp_path):
    folder = write_frames(tmp_path / "video7", 3)
    before = describe_video(folder, "training")
    cv2.imwrite(str(folder / "2.png"), picture(0, width=44))
    message = r"video7: frames of mixed size: frame 1 {}is 44x24, the video is 40x24"
    with pytest.raises(UserError, match=message.format(r"\(2\.png\) ")):
        describe_video(folder, "training")
    with pytest.raises(UserError, match=message.format("")):
        list(read_frames(before))


def test_one_image_that_cannot_be_read_is_found_at_once(tmp_path):
    folder = write_frames(tmp_path / "video7", 3)
    (folder / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png: not a whole image .video video7"):
        describe_video(folder, "training")


def test_turned_photographs_have_the_size_that_is_read(tmp_path):
    """Two files of other sizes in their headers, one of them turned by its EXIF orientation."""
    folder = tmp_path / "phone"
    folder.mkdir()
    upright, lying = Image.new("RGB", (40, 24)), Image.new("RGB", (24, 40))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    upright.save(folder / "1.jpg")
    lying.save(folder / "2.jpg", exif=turned)
    entry = describe_video(folder, "training")
    assert (entry.width, entry.height) == (40, 24) and len(list(read_frames(entry))) == 2


def test_a_video_that_changed_since(tmp_path):
    entry = describe_video(write_frames(tmp_path / "video7", 5), "training")
    (tmp_path / "video7" / "5.png").unlink()
    with pytest.raises(UserError, match="video7: cut short: 4 frames can be read, 5 were there"):
        list(read_frames(entry))
    with pytest.raises(UserError, match="no such video"):
        list(read_frames(replace(entry, source=tmp_path / "gone")))


def entries(root) -> tuple[VideoEntry, ...]:
    inside = VideoEntry("10", "training", root / "training/videos/10.avi", "video", 0, 9, 40, 24)
    outside = VideoEntry("2", "training", root.parent / "2", "frames", 3, 9, 40, 24)
    return inside, outside, replace(inside, split="testing")


def test_dataset_json_survives_a_file(tmp_path):
    root = tmp_path / "toy"
    dataset = DataSet(root, "toy", entries(root))
    save_dataset(dataset)
    assert load_dataset(root) == dataset
    assert [entry.name for entry in dataset.videos("training")] == ["2", "10"]
    tree = json.loads((root / "dataset.json").read_text())
    assert tree["videos"][0]["source"] == "training/videos/10.avi"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "reads format version 1"),
        ({"videos": None}, "a list 'videos'"),
        ({"videos": [{"name": "a"}]}, "video 'a' is not whole"),
        ({"videos": ["a"]}, "is not whole"),
    ],
)
def test_bad_dataset_json(tmp_path, change, message):
    save_dataset(DataSet(tmp_path, "toy", entries(tmp_path)))
    tree = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(tree | change))
    with pytest.raises(UserError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".."])
def test_names_cannot_leave_the_folder(tmp_path, name):
    save_dataset(DataSet(tmp_path, "toy", (replace(entries(tmp_path)[0], name=name),)))
    with pytest.raises(UserError, match="is not whole"):
        load_dataset(tmp_path)


def test_missing_dataset_and_doubled_names(tmp_path):
    with pytest.raises(UserError, match=r"run pre_process/prepare_dataset\.py"):
        load_dataset(tmp_path)
    first = entries(tmp_path)[0]
    with pytest.raises(UserError, match="same video name twice: training 10"):
        save_dataset(DataSet(tmp_path, "toy", (first, first)))


@given(st.lists(st.integers(0, 10**6), max_size=8))
def test_natural_order_is_numeric(numbers):
    names = sorted((f"v{number}.jpg" for number in numbers), key=natural_key)
    assert names == [f"v{number}.jpg" for number in sorted(numbers)]
