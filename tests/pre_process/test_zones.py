"""Zones: boxes count where they stand, everywhere alike, and old cubes still open."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from datasets.cubes.dataset import CubeSet
from datasets.cubes.settings import require_configured
from pre_process import extract_bboxes, extract_samples
from pre_process.cubes.extractor import build_extractor
from pre_process.cubes.settings import cube_settings
from pre_process.detectors.build import BoxSource
from pre_process.detectors.drawing import draw_zones
from pre_process.detectors.zones import Zones
from tests.helpers.tiny_videos import HEIGHT, WIDTH, make_dataset, moving_squares
from utils.config.hf2vad import BoxConfig, PreProcessConfig
from utils.config.load import build_config
from utils.errors import UserError

LOWER = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]  # half of the frame, in shares
LOWER_PIXELS = [[0, 32], [96, 32], [96, 64], [0, 64]]
SHARES = st.floats(0.01, 0.99)


def test_a_box_stands_at_its_foot_point():
    upper, lower = [[10, 0, 20, 31]], [[10, 0, 20, 40]]
    boxes = np.array(upper + lower, np.float32)
    for zone in (LOWER, LOWER_PIXELS):
        assert Zones(ignore=[zone]).keep(boxes, 96, 64).tolist() == upper
        assert Zones(watch=[zone]).keep(boxes, 96, 64).tolist() == lower
        assert not len(Zones([zone], [zone]).keep(boxes, 96, 64))  # ignored where watched, too
    assert Zones().keep(boxes, 96, 64) is boxes


@given(st.lists(st.tuples(SHARES, SHARES), max_size=8), SHARES, SHARES, SHARES, SHARES)
def test_shares_pixels_and_plain_comparison_agree(feet, x1, y1, x2, y2):
    left, right, top, bottom = min(x1, x2), max(x1, x2) + 0.01, min(y1, y2), max(y1, y2) + 0.01
    shares = [[left, top], [right, top], [right, bottom], [left, bottom]]
    pixels = [[x * 200, y * 100] for x, y in shares]
    boxes = np.array([[x * 200 - 3, y * 100 - 8, x * 200 + 3, y * 100 + 1] for x, y in feet])
    boxes = boxes.reshape(-1, 4).astype(np.float32)
    inside = [
        left * 200 <= min(x * 200, 199) <= right * 200
        and top * 100 <= min(y * 100, 99) <= bottom * 100
        for x, y in feet
    ]
    near_an_edge = [
        min(abs(x - left), abs(x - right)) * 200 < 0.01
        or min(abs(y - top), abs(y - bottom)) * 100 < 0.01
        for x, y in feet
    ]
    sure = ~np.array(near_an_edge, bool)
    for zone in (shares, pixels):
        kept = {tuple(box) for box in Zones(watch=[zone]).keep(boxes[sure], 200, 100).tolist()}
        expected = boxes[sure][np.array(inside, bool)[sure]].tolist()
        assert kept == {tuple(box) for box in expected}


def test_what_touches_the_edge_of_the_frame_is_in_a_zone_up_to_it():
    whole = [[0, 0], [95, 0], [95, 63], [0, 63]]  # as a drawing program tells its corners
    boxes = np.array([[80, 40, 96, 64], [-9, -9, 4, 4], [90, 60, 200, 200]], np.float32)
    assert len(Zones(watch=[whole]).keep(boxes, 96, 64)) == 3


class Nothing:
    def detect(self, frames):
        return [np.zeros((0, 5), np.float32) for _ in frames]


def test_moving_regions_obey_zones():
    frames = list(moving_squares(6))  # one square in the upper half, one in the lower
    found = {}
    for name, zones in (("all", None), ("lower", Zones(watch=[LOWER])), ("upper", Zones([LOWER]))):
        source = BoxSource(Nothing(), BoxConfig(min_area=30), zones)
        source.start()
        boxes = np.concatenate(source(frames, None))
        found[name] = {tuple(box) for box in boxes.tolist()}
    assert found["lower"] and found["upper"] and not found["lower"] & found["upper"]
    assert found["lower"] | found["upper"] == found["all"]
    assert all(y2 > 32 for *_, y2 in found["lower"])


def test_the_streaming_extractor_obeys_zones():
    boxes = {"min_area": 30}
    extractor = build_extractor(PreProcessConfig(boxes=boxes, watch_zones=[LOWER]))
    cubes = [each for frame in moving_squares(20) for each in extractor.push(frame)]
    joined = np.concatenate([each.boxes for each in cubes + extractor.flush()])
    assert len(joined) > 5 and (joined[:, 3] > HEIGHT / 2).all()


def arguments(dataset, *zones):
    path = dataset.root / "tiny.yaml"
    path.write_text(yaml.safe_dump({"data": {"name": "tiny", "root": str(dataset.root)}}))
    return ["--cfg_file", str(path), "--workers", "1", "--set", "pre_process.flow.preset=ultrafast",
            "pre_process.boxes.min_area=30", *zones]  # fmt: skip


def test_zones_are_settings_of_cubes_and_cubes_without_any_still_open(tmp_path: Path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    extract_samples.main(arguments(dataset))
    manifest = dataset.root / "cubes" / "training" / "01" / "manifest.json"
    assert not [key for key in json.loads(manifest.read_text())["settings"] if "zone" in key]
    extract_samples.main(arguments(dataset))  # finished, not refused
    zone = f"pre_process.watch_zones={json.dumps([LOWER])}"
    with pytest.raises(SystemExit):
        extract_samples.main(arguments(dataset, zone))
    assert "watch_zones: None -> [[" in capsys.readouterr().err
    plain = PreProcessConfig(boxes={"min_area": 30}, flow={"preset": "ultrafast"})
    zoned = plain.model_copy(update={"watch_zones": [LOWER]})
    before = CubeSet.open(dataset.root, "training", pre_process=plain)
    with pytest.raises(UserError, match="watch_zones"):
        CubeSet.open(dataset.root, "training", pre_process=zoned)
    extract_samples.main([*arguments(dataset, zone), "--overwrite"])
    after = CubeSet.open(dataset.root, "training", pre_process=zoned)
    assert 0 < len(after) < len(before) and (after.boxes[:, 3] > HEIGHT / 2).all()
    with pytest.raises(UserError, match="watch_zones"):
        CubeSet.open(dataset.root, "training", pre_process=plain)


def test_the_reach_of_boxes_is_a_setting_where_it_has_an_effect(tmp_path: Path):
    dataset = make_dataset(tmp_path / "tiny")

    def settings_of(**boxes) -> dict:
        reach = {"box_reach": 0.4} | boxes.pop("moving_regions", {})
        return cube_settings(PreProcessConfig(boxes={**boxes, "moving_regions": reach}), dataset)

    key = "boxes.moving_regions.box_reach"
    assert settings_of(backend="yolox")[key] == 0.4
    for other in ({}, {"backend": "yolox", "moving_regions": {"enabled": False}}):
        assert key not in settings_of(**other)
    assert key not in settings_of(backend="yolox", moving_regions={"box_reach": 0})


@pytest.mark.parametrize(("before", "now"), [(0.0, 0.4), (0.4, 0.0), (0.4, 0.3)])
def test_cubes_of_another_reach_are_refused_and_older_ones_open(tmp_path: Path, before, now):
    dataset = make_dataset(tmp_path / "tiny")

    def configured(reach: float) -> PreProcessConfig:
        return PreProcessConfig(boxes={"backend": "yolox", "moving_regions": {"box_reach": reach}})

    made = cube_settings(configured(before), dataset)
    folder = dataset.root / "cubes" / "training"
    require_configured(made, configured(before), folder, "01")
    with pytest.raises(UserError, match="box_reach"):
        require_configured(made, configured(now), folder, "01")


def test_zones_are_drawn_with_the_boxes(tmp_path: Path):
    dataset = make_dataset(tmp_path / "tiny", {"training": (12,)})
    zone = f"pre_process.ignore_zones={json.dumps([LOWER])}"
    extract_bboxes.main([*arguments(dataset, zone), "--draw", "2"])
    (first, *_) = sorted((dataset.root / "boxes" / "drawn").glob("*.png"))
    picture = cv2.imread(str(first)).astype(int)
    assert picture[HEIGHT + 20 :].mean() < picture[: HEIGHT - 20].mean() - 5
    frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    outlined = draw_zones(frame, Zones(watch=[LOWER_PIXELS]))
    assert (outlined[:30] == 120).all() and (outlined[32, 5:90, 1] > 150).all()


@pytest.mark.parametrize(
    "zone", [[[0, 0], [0.5, 0.5]], [[0, 0], [0.2, 0.2], [0.4, 0.4]], [[0, 0], [1.5, 0], [1, 1]],
             [[-1, 0], [9, 0], [9, 9]], [[0, 0, 0], [9, 0, 0], [9, 9, 0]],
             [[0, 0], [float("inf"), 0], [1, 1]], [[0, 0], [3e9, 0], [3e9, 3e9]]],
)  # fmt: skip
def test_polygons_that_are_none_are_refused(zone):
    tree = {"data": {"name": "x"}, "pre_process": {"ignore_zones": [zone]}}
    with pytest.raises(UserError, match=r"pre_process\.ignore_zones\.0"):
        build_config(tree, "x.yaml")
