"""Filtering, containment suppression, moving regions and crops."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.video_files import decode, open_video
from pre_process.detectors.boxes import (
    blur,
    clamp_boxes,
    crop_ranges,
    drop_edges,
    filter_detections,
    moving_regions,
    suppress_contained,
)
from pre_process.detectors.build import BoxSource, build_box_source, build_detector
from utils.config.hf2vad import BoxConfig, PreProcessConfig

PUBLISHED = {  # cover threshold, binary threshold, blur size, smallest region
    "ped2": (0.6, 18, 3, 100),
    "avenue": (0.6, 18, 5, 1600),
    "shanghaitech": (0.65, 15, 5, 1600),
}


@st.composite
def box_arrays(draw: st.DrawFn) -> np.ndarray:
    corners = draw(
        hnp.arrays(
            np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 60)
        )
    )
    sides = np.maximum(corners[:, 2:] % 23, 1)
    return np.concatenate([corners[:, :2], corners[:, :2] + sides], axis=1).astype(np.float32)


def suppress_plainly(boxes: list[list[float]], threshold: float) -> list[list[float]]:
    def area(box: list[float]) -> float:
        return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)

    ordered = sorted(boxes, key=area)
    kept = []
    for index, a in enumerate(ordered):
        for b in ordered[index + 1 :]:
            width = min(a[2], b[2]) - max(a[0], b[0]) + 1
            height = min(a[3], b[3]) - max(a[1], b[1]) + 1
            if max(width, 0) * max(height, 0) / area(a) > threshold:
                break
        else:
            kept.append(a)
    return kept


@given(box_arrays(), st.sampled_from([0.3, 0.6, 0.65]))
def test_suppression_equals_the_plain_loop(boxes: np.ndarray, threshold: float) -> None:
    expected = np.array(suppress_plainly(boxes.tolist(), threshold), np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(suppress_contained(boxes, threshold), expected)


def test_suppression_keeps_the_cover_not_the_covered() -> None:
    boxes = np.array([[10, 10, 40, 40], [12, 12, 20, 20], [38, 38, 60, 60]], np.float32)
    assert suppress_contained(boxes, 0.6).tolist() == [boxes[2].tolist(), boxes[0].tolist()]


def test_filter_is_strict_on_score_and_inclusive_on_area() -> None:
    detections = [[0, 0, 9, 9, 0.6], [0, 0, 9, 9, 0.5], [0, 0, 9, 8.9, 0.9]]
    kept = filter_detections(np.array(detections), score_threshold=0.5, min_area=100)
    assert kept.tolist() == [[0, 0, 9, 9]]


def squares(*corners: tuple[int, int], grey: int = 128, size: int = 14) -> np.ndarray:
    frame = np.zeros((60, 90, 3), np.uint8)
    for x, y in corners:
        frame[y : y + size, x : x + size] = grey
    return frame


def regions(before: np.ndarray, now: np.ndarray, after: np.ndarray, boxes: list) -> list:
    blurred = blur(before, 1), blur(now, 1), blur(after, 1)
    known = np.array(boxes, np.float32).reshape(-1, 4)
    return moving_regions(blurred, known, 18, min_area=100, max_aspect=10).tolist()


def test_region_is_the_grown_rectangle_and_the_sum_saturates() -> None:
    # 128 + 128 is 0 in wrapping uint8 arithmetic: the square would be lost.
    flash = squares((20, 10)), squares(), squares((20, 10))
    assert regions(*flash, []) == [[18, 8, 36, 26]]


def test_region_is_cut_at_the_frame_edge() -> None:
    flash = squares((0, 0)), squares(), squares((0, 0))
    assert regions(*flash, []) == [[0, 0, 16, 16]]


def test_known_boxes_are_blanked_with_their_margin() -> None:
    flash = squares((20, 10), (60, 30)), squares(), squares((20, 10), (60, 30))
    assert regions(*flash, [[20, 10, 33, 23]]) == [[58, 28, 76, 46]]
    # Columns up to 25 + 2 are blanked, so 28 is the first of the square that is left.
    assert [26, 8, 36, 26] in regions(*flash, [[20, 10, 25, 23]])


def test_long_and_small_regions_are_dropped() -> None:
    frame = np.zeros((60, 90, 3), np.uint8)
    line = frame.copy()
    line[20:24, 5:85] = 200
    speck = frame.copy()
    speck[20:28, 5:13] = 200
    assert regions(line, frame, line, []) == []
    assert regions(speck, frame, speck, []) == []


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 6), st.just(4)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.integers(2, 50),
    st.integers(2, 50),
)
def test_crops_are_inside_and_at_least_two_pixels(
    boxes: np.ndarray, width: int, height: int
) -> None:
    x1, y1, x2, y2 = crop_ranges(boxes, width, height).T
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= width).all() and (y2 <= height).all()
    assert (x2 - x1 >= 2).all() and (y2 - y1 >= 2).all()
    stored = clamp_boxes(boxes, width, height)
    assert (stored >= 0).all() and (stored[:, 2:] <= [width, height]).all()
    assert (stored[:, 2:] - stored[:, :2] >= 2).all()


@given(box_arrays())
def test_ordinary_boxes_are_cropped_as_published(boxes: np.ndarray) -> None:
    boxes = boxes + np.float32(0.25)
    boxes[:, 2:] += 2
    assert np.array_equal(crop_ranges(boxes, 100, 100), np.ceil(boxes).astype(int))
    assert np.array_equal(clamp_boxes(boxes, 100, 100), boxes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_boxes_equal_the_published_implementation(vad_data: Path, name: str) -> None:
    cover, binary, size, smallest = PUBLISHED[name]
    with np.load(vad_data / "reference" / "boxes_ped2.npz") as content:
        reference = {key: content[key] for key in content.files if key.startswith(name)}
    places = sorted({key.rsplit("/", 1)[0] for key in reference})
    assert places
    for place in places:
        kept = reference[f"{place}/kept"]
        assert np.array_equal(suppress_contained(reference[f"{place}/candidates"], cover), kept)
        video, frame = place.split("/")[2:]
        folder = vad_data / "reference" / "frames" / f"train_{video}"
        paths = [folder / f"{int(frame) + step:03d}.jpg" for step in (-1, 0, 1)]
        blurred = tuple(blur(cv2.imread(str(path)), size) for path in paths)
        found = moving_regions(blurred, kept[: len(kept) // 3], binary, smallest, 10)
        expected = reference[f"{place}/foreground_given_first_third"].reshape(-1, 4)
        assert np.array_equal(found, expected)


def edges(regions: list, boxes: list, reach: float = 0.4) -> list:
    as_rows = [np.array(each, np.float32).reshape(-1, 4) for each in (regions, boxes)]
    return drop_edges(*as_rows, reach, 0.6).tolist()


def test_strips_beside_a_box_go_and_somebody_else_stays() -> None:
    person = [100, 50, 130, 130]  # 30 x 80; reaches from 88 to 142 and from 18 to 162
    leg, shadow, high_strip = [130, 100, 140, 130], [110, 130, 140, 145], [90, 20, 100, 140]
    companion, child, far = [131, 50, 161, 130], [131, 80, 153, 130], [300, 60, 310, 90]
    kept = [companion, child, far]
    assert edges([leg, companion, shadow, child, far, high_strip], [person]) == kept
    assert edges([leg, *kept], [person, [280, 40, 320, 100]]) == kept[:2]
    assert edges([leg], [person], reach=0) == [leg]
    assert edges([leg], []) == [leg] and edges([], [person]) == []


def test_few_slivers_are_left_beside_the_people_of_a_real_clip(vad_data: Path) -> None:
    config = {"weights": str(vad_data / "data" / "weights" / "yolox_nano.onnx"), "min_area": 200}
    clip = vad_data / "data" / "clips" / "pedestrians_vtest.avi"
    with open_video(clip) as container:
        frames = [each.picture for each in itertools.islice(decode(container, clip), 24)]
    counts = []
    for reach in (0.0, 0.4):
        regions = {"box_reach": reach}
        source = build_box_source(
            PreProcessConfig(boxes={"backend": "yolox", **config, "moving_regions": regions})
        )
        counts.append(sum(map(len, source(frames, None))))
    plain = BoxConfig(backend="yolox", **config, moving_regions={"enabled": False})
    detected = sum(map(len, BoxSource(build_detector(plain, "cpu"), plain)(frames, None)))
    assert counts[0] - detected > 10 and counts[1] - detected < (counts[0] - detected) / 2
