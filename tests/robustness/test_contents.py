"""What the kill harness compares: the same picture twice, and one letter that differs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.helpers.tiny_videos import moving_squares
from tests.robustness.harness.changes import Change, final_name, half_written, times, written
from tests.robustness.harness.contents import Pictures, results
from visualization.video_writer import VideoWriter


def write(path, captions, fps=10.0):
    with VideoWriter(path, fps) as out:
        for picture, caption in zip(moving_squares(len(captions)), captions, strict=True):
            large = cv2.resize(picture, (480, 320))
            cv2.putText(large, caption, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235,) * 3)
            out.write(large)
    return Pictures(path)


def test_a_letter_or_a_frame_that_differs_is_noticed(tmp_path):
    captions = [f"street  frame {number}" for number in range(9)]
    whole = write(tmp_path / "a.mp4", captions)
    assert whole == write(tmp_path / "b.mp4", captions)
    assert whole != write(tmp_path / "c.mp4", [*captions[:4], captions[5], *captions[5:]])
    assert whole != write(tmp_path / "d.mp4", captions[:-1])
    assert whole != write(tmp_path / "e.mp4", captions, fps=12.0)
    found = results(tmp_path)
    assert found["a.mp4"] == found["b.mp4"] and set(found) >= {"c.mp4", "d.mp4"}


def test_a_block_that_is_encoded_otherwise_is_none(tmp_path):
    whole = write(tmp_path / "a.mp4", ["x"] * 3)
    other = write(tmp_path / "b.mp4", ["x"] * 3)
    for pixels in other.pixels:
        noise = np.random.default_rng(0).integers(-6, 7, (112, 16))
        pixels[16:128, -16:] = np.clip(pixels[16:128, -16:].astype(int) + noise, 0, 255)
    assert whole == other


@pytest.mark.parametrize(
    ("name", "final"),
    [
        ("runs/.last.123.part.pth", "runs/last.pth"),
        ("testing/.01.0123456789abcdef.part/motion.npy", "testing/01/motion.npy"),
        ("annotated/.01.part.mp4", "annotated/01.mp4"),
        (".results.0123456789abcdef.part/report.html", "report.html"),
        ("tensorboard/events.out.tfevents.17.host", "tensorboard/events.out.tfevents"),
        ("a.part.b", "a.part.b"),
    ],
)
def test_final_names(name, final):
    assert final_name(name) == final


def test_writes_are_found_in_the_changes_of_files(tmp_path):
    part, done = str(tmp_path / ".last.1.part.pth"), str(tmp_path / "last.pth")
    table, folder = str(tmp_path / "log.csv"), str(tmp_path / ".01.0123456789abcdef.part")
    changes = [
        Change("open", table),
        Change("os.mkdir", str(tmp_path)),
        Change("open", part),
        Change("os.rename", part, done, {"": 700}),
        Change("open", f"{folder}/a.npy"),
        Change("os.rename", folder, str(tmp_path / "01"), {"a.npy": 90}),
    ]
    found = {each.name: each[1:] for each in written(changes, {table: 30}, tmp_path)}
    assert found == {"last.pth": (700, 0, 2), "01/a.npy": (90, 4, 4), "log.csv": (30, 0, 0)}


def test_what_a_kill_left_half_written(tmp_path):
    (tmp_path / ".last.1.part.pth").write_bytes(b"x" * 10)
    (tmp_path / "last.pth").write_bytes(b"x" * 700)
    (tmp_path / "log.csv").write_bytes(b"x" * 17)
    whole = {"last.pth": {700}, "log.csv": {30}}
    assert half_written(tmp_path, whole, None, {}) == {"last.pth"}
    assert half_written(tmp_path, whole, 17, {}) == {"last.pth", "log.csv"}
    assert not half_written(tmp_path, whole, 17, times(tmp_path)), "left by the run before"
