"""The speed table: what its rows are made of, and that both sides extract the same cubes."""

from __future__ import annotations

import joblib
import numpy as np
import pytest

from benchmarks.our_tasks import boxes_given, write_cube_set
from benchmarks.plain.extraction import extract_frames, write_cubes, write_flows
from benchmarks.rows import EPOCHS, TESTING, TRAINING, Costs, as_table, median_of
from benchmarks.scene import PEOPLE, write_video_set
from datasets.cubes.dataset import CubeSet
from pre_process.cubes.extraction import write_video_cubes
from pre_process.cubes.extractor import build_extractor
from pre_process.detectors.box_files import box_file, load_boxes

FRAMES = 7


def answers(task, *arguments):
    """Plain is three times as slow in steps, four times in scoring, which ours may round."""
    seconds = {
        "step": (3.0, 1.0),
        "score": (2.0, 0.5),
        "describe_normal": (0.0, 1.0),
        "reconstruct_flows": (0.0, 0.5),
    }[task]
    return dict(zip(("plain", "ours"), ({"seconds": each} for each in seconds), strict=True))


@pytest.mark.parametrize(("stage", "steps"), [("stage1", 118), ("stage2", 235)])
def test_epochs_follow_from_steps(stage, steps):
    row = Costs(answers, rate=154).epoch(stage)
    tested = TESTING + (TRAINING if stage == "stage2" else 0)
    assert row.plain == pytest.approx(3 * steps + 2 * tested / 128)
    rebuilt = TRAINING / 128 * 0.5 if stage == "stage2" else 0
    once = (TRAINING + TESTING) / 128 + rebuilt
    assert row.ours == pytest.approx(steps + once / EPOCHS)
    assert row.ratio == pytest.approx(row.plain / row.ours)


def test_published_seconds_are_scaled_by_the_rate():
    row = Costs(answers, rate=308).seconds("step", "stage2")
    assert row.published_scaled == pytest.approx(6.0)
    assert row.ratio == pytest.approx(3.0)
    header, [cells] = as_table([row])
    assert len(cells) == len(header)


def test_medians_of_each_value():
    assert median_of([{"a": 1, "b": 9}, {"a": 5, "b": 2}, {"a": 2, "b": 4}]) == {"a": 2, "b": 4}


def test_both_sides_extract_the_same_cubes(tmp_path):
    dataset = write_video_set(tmp_path, FRAMES, 120, 90)
    entry = dataset.entries[0]
    write_video_cubes(build_extractor(boxes_given("fast"), dataset, 4), tmp_path, entry, {})
    ours = CubeSet.open(tmp_path, "training", [entry.name])
    frames = extract_frames(entry.source, tmp_path / "frames", FRAMES, ".png")
    boxes = load_boxes(box_file(tmp_path, entry), FRAMES)
    write_flows(frames, tmp_path / "flows", "fast")
    count = write_cubes(frames, tmp_path / "flows", boxes, tmp_path / "chunk.pkl")
    assert count == len(ours) == FRAMES * PEOPLE
    plain = joblib.load(tmp_path / "chunk.pkl")
    appearance, motion = ours.gather(np.arange(count))
    np.testing.assert_array_equal(plain["appearance"], appearance)
    np.testing.assert_allclose(plain["motion"][:, 1:], motion, rtol=1e-3, atol=1e-4)


def test_made_up_cubes_are_a_set(tmp_path):
    assert len(write_cube_set(tmp_path, 16)) == 16
