"""Folders of images: the order of their names, and what does not belong among the frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.frame_names import in_order, numbering
from datasets.image_folders import list_images
from datasets.video_folders import find_videos, is_frame_folder
from datasets.videos import describe_video, read_frames
from pre_process.preparation.layouts import find_layout
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError


def write(folder: Path, names: list[str]) -> Path:
    """Images whose grey level is ten times their place in ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((24, 40, 3), 10 * index, np.uint8))
    return folder


def write_animation(path: Path, num_frames: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.new("RGB", (40, 24), (20 * index, 0, 0)) for index in range(num_frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["0.png", "0.04.png", "0.08.png", "0.1.png", "0.12.png", "1.png", "1.2.png", "10.04.png"],
        ["t_0.5s.png", "t_0.75s.png", "t_1.0s.png", "t_1.25s.png"],
        ["0,08.png", "0,1.png", "0,12.png"],  # as German spreadsheets write it
        ["Frame_1.png", "frame_2.png", "FRAME_3.png", "frame_10.png"],
        ["v4.8.png", "v4.9.png", "v4.10.png"],  # a count behind the point
        ["1.1.png", "1.2.png", "1.10.png", "2.1.png"],
        ["2.jpg", "10.png", "11.jpg"],
        ["a1_b2.png", "a1_b10.png", "a2_b1.png"],
    ],
)
def test_images_come_in_the_order_of_their_numbers_or_times(tmp_path, names):
    entry = describe_video(write(tmp_path / "v", names), "training")
    assert [path.name for path in list_images(tmp_path / "v")] == names
    levels = [int(frame.mean()) for frame in read_frames(entry)]
    np.testing.assert_allclose(levels, 10 * np.arange(len(names)), atol=3)
    assert in_order(sorted(map(Path, names))) == list(map(Path, names))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["000.jpg", "000.png", "001.jpg"], "000.jpg and 000.png are both named for one frame"),
        (["1.png", "01.png", "2.png"], "01.png and 1.png are both named for one frame"),
        (["Frame_1.png", "frame_1.jpg"], "both named for one frame; keep one of them"),
        (["000.png", "000_gt.png", "001.png"], r"1 of 3 images do not .*\(000_gt\.png\): masks"),
        (
            ["000.png", "000_gt.png", "001.png", "001_gt.png"],
            r"2 of 4 images .*_gt\.png, 001_gt",
        ),
        (["001.png", "002.png", "003.png", "002 - Copy.png"], r"\(002 - Copy\.png\)"),
        (["001.png", "002.png", "002 (1).png"], r"\(002 \(1\)\.png\)"),
        (["000.png", "mask_000.png", "001.png"], r"\(mask_000\.png\)"),
        (["000.png", "001.png", "002.png", "007_mask.png"], r"\(007_mask\.png\)"),
        (["0.04.png", "0.08.png", "0.12.png", "0.08 - Copy.png"], r"\(0\.08 - Copy\.png\)"),
    ],
)
def test_what_is_no_frame_of_the_video_is_refused(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        describe_video(write(tmp_path / "v", names), "training")


@pytest.mark.parametrize(
    "names",
    [
        ["frame (1).png", "frame (2).png", "frame (10).png"],  # as Windows numbers files
        ["000_gt.png", "001_gt.png"],  # somebody looks at masks
        ["a.png", "ab.png", "b.png"],
        ["img_1_left.png", "img_2_left.png"],
        ["1.png", "12.png", "123.png"],
    ],
)
def test_other_names_are_frames(tmp_path, names):
    assert describe_video(write(tmp_path / "v", names), "training").num_frames == len(names)


def test_missing_numbers_are_named(tmp_path, caplog):
    names = [f"{number:03d}.png" for number in (1, 2, 3, 7, 8)]
    describe_video(write(tmp_path / "v", names), "training")
    assert "numbers run from 1 to 8, but there are 5 of them (number 4 is the first" in caplog.text
    caplog.clear()
    describe_video(write(tmp_path / "w", ["c01_008.png", "c01_009.png", "c01_010.png"]), "training")
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["5.png", "6.png"], (5, 6, 0, -1)),
        (["x2_10.png", "x2_20.png"], (10, 20, 9, 11)),
        (["a1_1.png", "a2_2.png"], None),  # two numbers change: no count to be trusted
        (["0.04.png", "0.08.png"], None),
        (["a.png", "b1.png"], None),
        (["1.png"], None),
        ([], None),
    ],
)
def test_numbering(names, expected):
    found = numbering([Path(name) for name in names])
    given = found and (found.first, found.last, found.num_missing, found.missing)
    assert given == expected


def test_folders_of_masks_are_no_videos(tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("01", "01_gt", "02", "02_GT", "03_gt"):
        write(tmp_path / name, ["0.png", "1.png"])
    write_animation(tmp_path / "04.gif")
    write(tmp_path / "04_mask", ["0.png"])
    names = [path.name for path in find_videos(tmp_path)]
    assert names == ["01", "02", "03_gt", "04.gif"], "03_gt has no video beside it"
    assert "3 left out as ground truth, no videos: " in caplog.text and "02_GT" in caplog.text


def test_every_animated_gif_is_a_video_of_its_own(tmp_path):
    for name in ("a.gif", "b.GIF"):
        write_animation(tmp_path / name)
    assert list_images(tmp_path) == []
    assert [path.name for path in find_videos(tmp_path)] == ["a.gif", "b.GIF"]
    entry = describe_video(tmp_path / "b.GIF", "testing")
    assert (entry.name, entry.kind, entry.num_frames) == ("b", "video", 6)
    levels = [int(frame[..., 2].mean()) for frame in read_frames(entry)]
    np.testing.assert_allclose(levels, [0, 20, 40, 60, 80, 100], atol=4)


def test_gifs_of_one_picture_are_frames(tmp_path):
    for index in range(3):
        write_animation(tmp_path / f"{index}.gif", 1)
    assert describe_video(tmp_path, "testing").num_frames == 3


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_files_of_many_pictures_are_refused_with_the_remedy(tmp_path, suffix):
    for path in (tmp_path / "v" / f"stack{suffix}", tmp_path / f"stack{suffix}"):
        write_animation(path)
        with pytest.raises(UserError, match=r"stack.*: 6 pictures in one file.*one file a picture"):
            describe_video(path if path.parent == tmp_path else path.parent, "training")


def test_a_single_image_is_no_video(tmp_path):
    write(tmp_path, ["photo.jpg"])
    with pytest.raises(UserError, match="a single image, no video; name the folder"):
        describe_video(tmp_path / "photo.jpg", "training")


def test_images_beside_videos(tmp_path, caplog):
    write(tmp_path / "v", ["0.png", "1.png"])
    write(tmp_path / "v" / "masks", ["0.png"])
    assert describe_video(tmp_path / "v", "training").num_frames == 2
    assert "its sub-folder masks is not read" in caplog.text
    write_animation(tmp_path / "v" / "preview.gif")
    with pytest.raises(UserError, match=r"images and video files \(preview\.gif\); move one kind"):
        describe_video(tmp_path / "v", "training")


def test_an_image_that_is_something_else_says_so(tmp_path):
    write(tmp_path / "v", ["0.png", "1.png"])
    (tmp_path / "v" / "1.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"1\.png: not a whole image .* Git LFS pointer"):
        describe_video(tmp_path / "v", "training")


def test_previews_beside_recordings_are_no_frames(tmp_path, caplog):
    for name in ("gate_0800", "gate_0900"):
        write_video(tmp_path / f"{name}.avi", 4)
        for suffix in (".jpg", "_thumb.jpg", ".avi.jpg"):  # six, but named as the videos are
            cv2.imwrite(str(tmp_path / f"{name}{suffix}"), np.zeros((4, 4, 3), np.uint8))
    names = [path.name for path in find_videos(tmp_path)]
    assert names == ["gate_0800.avi", "gate_0900.avi"]
    assert "6 image(s) beside the videos are left out" in caplog.text
    assert [path.name for path in find_layout(tmp_path, "yard").training] == names
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="a: empty video folder"):
        find_videos(tmp_path)
    assert len(find_videos(tmp_path, skip_others=True)) == 2
    for number in range(5):  # what these are nobody knows
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    assert is_frame_folder(tmp_path)
    with pytest.raises(UserError, match="holds images and video files"):
        describe_video(tmp_path, "training")
