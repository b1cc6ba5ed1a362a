"""Normal video held out: whole videos or last parts, a gap, nothing twice."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.cubes.dataset import CubeSet
from datasets.cubes.files import write_cubes
from datasets.cubes.held_out import GAP_SECONDS, hold_out
from datasets.manifest import DataSet, VideoEntry, save_dataset
from utils.errors import UserError


def make_cubes(root, lengths, every=1) -> CubeSet:
    """One cube every ``every`` frames; its appearance tells video and frame."""
    entries = []
    for number, length in enumerate(lengths):
        name = f"{number:02d}"
        entries.append(VideoEntry(name, "training", root, "frames", 0, length, 64, 48))
        facts = {"video": name, "split": "training", "num_frames": length, "width": 64}
        facts |= {"height": 48, "settings": {}}
        with write_cubes(root / "cubes" / "training" / name, facts) as writer:
            for frame in range(0, length, every):
                appearance = np.zeros((1, 5, 32, 32, 3), np.uint8)
                appearance[0, 0, 0, 0] = number, frame // 250, frame % 250
                motion = np.zeros((1, 4, 32, 32, 2), np.float16)
                writer.append(frame, np.array([[1, 2, 3, 4]], np.float32), appearance, motion)
    save_dataset(DataSet(root, "x", tuple(entries)))
    return CubeSet.open(root, "training")


def places(part) -> list[tuple[int, int]]:
    found = part.gather(np.arange(len(part)))[0][:, 0, 0, 0].astype(int)
    return [(video, 250 * high + low) for video, high, low in found.tolist()]


def test_whole_videos_where_there_are_enough(tmp_path):
    fitted, held = hold_out(make_cubes(tmp_path, [60] * 10, every=15), 0.2, fps=10)
    assert held.videos == ["02", "07"]
    assert fitted.videos == [f"{n:02d}" for n in (0, 1, 3, 4, 5, 6, 8, 9)]
    assert len(held) == 8 and len(fitted) == 32
    assert set(places(held)) == {(v, f) for v in (2, 7) for f in (0, 15, 30, 45)}
    assert not set(places(held)) & set(places(fitted))


def test_the_last_part_of_the_only_video_behind_a_gap(tmp_path):
    fitted, held = hold_out(make_cubes(tmp_path, [600]), 0.25, fps=2)
    gap = int(GAP_SECONDS * 2)
    assert places(fitted) == [(0, frame) for frame in range(450)]
    assert places(held) == [(0, frame) for frame in range(450 + gap, 600)]
    assert held.videos == [f"00 frames {450 + gap}-599"]
    assert held.num_frames == {held.videos[0]: 150 - gap}
    np.testing.assert_array_equal(held.frames, np.arange(150 - gap))
    assert fitted.fingerprint != held.fingerprint


def test_a_short_part_has_a_short_gap(tmp_path):
    fitted, held = hold_out(make_cubes(tmp_path, [500, 300]), 0.3, fps=25)
    assert fitted.num_frames == {"00 frames 0-349": 350, "01 frames 0-209": 210}
    assert list(held.num_frames.values()) == [100, 60]


def test_nothing_is_held_out_without_a_share(tmp_path):
    cubes = make_cubes(tmp_path, [20])
    assert hold_out(cubes, 0.0, fps=10) == (cubes, None)


def test_too_few_frames_for_a_threshold_are_told_and_not_held_out(tmp_path, caplog):
    cubes = make_cubes(tmp_path, [200])
    assert hold_out(cubes, 0.3, fps=25) == (cubes, None)  # 60 frames less a gap of 20
    assert "hold out 40 frames, too few for a threshold (50 are needed)" in caplog.text


def test_a_share_that_leaves_nothing_is_refused(tmp_path):
    cubes = make_cubes(tmp_path, [2000], every=1850)  # cubes at 0 and 1850, in the gap
    with pytest.raises(UserError, match=r"calibration_share=0\.1: leaves no cube to hold out"):
        hold_out(cubes, 0.1, fps=10)
