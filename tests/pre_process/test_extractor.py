"""The streaming extractor: equal to the reference, and to itself however it is fed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pre_process.cubes.extractor import CubeExtractor, FrameCubes
from pre_process.detectors.base import Detector
from pre_process.detectors.build import BoxSource
from pre_process.flow.base import FlowEstimator
from pre_process.flow.dis import DISFlow
from tests.helpers.tiny_videos import HEIGHT, WIDTH, moving_squares
from utils.config.hf2vad import BoxConfig
from utils.errors import UserError


class GivenBoxes(Detector):
    """Boxes by frame index."""

    is_filtered = True

    def __init__(self, boxes: list[list]) -> None:
        self.boxes = [np.array(each, np.float32).reshape(-1, 4) for each in boxes]

    def start(self, entry: object) -> None:
        self.index = 0

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        first, self.index = self.index, self.index + len(frames)
        return [np.insert(each, 4, 1, axis=1) for each in self.boxes[first : self.index]]


class CountedFlow(FlowEstimator):
    """Flow that tells from which frames it was made: their brightness at one pixel."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def __call__(self, previous: list, current: list) -> list[np.ndarray]:
        pairs = [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in zip(previous, current, strict=True)]
        self.pairs += pairs
        return [np.full((HEIGHT, WIDTH, 2), pair, np.float32) for pair in pairs]


def numbered_frames(count: int) -> list[np.ndarray]:
    """Frame i is i + 1 everywhere."""
    return [np.full((HEIGHT, WIDTH, 3), i + 1, np.uint8) for i in range(count)]


def box_source(boxes: list[list], regions: bool = False) -> BoxSource:
    return BoxSource(GivenBoxes(boxes), BoxConfig(moving_regions={"enabled": regions}))


def run(extractor: CubeExtractor, frames: list[np.ndarray]) -> list[FrameCubes]:
    extractor.start()
    cubes = [each for frame in frames for each in extractor.push(frame)]
    return cubes + extractor.flush()


def require_equal(one: list[FrameCubes], other: list[FrameCubes]) -> None:
    assert [each.index for each in one] == [each.index for each in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.appearance, b.appearance)
        np.testing.assert_array_equal(a.motion, b.motion)


def test_history_is_repeated_before_the_first_frame_and_flow_starts_at_zero() -> None:
    cubes = run(CubeExtractor(box_source([[0, 0, 8, 8]] * 7), CountedFlow()), numbered_frames(7))
    times = [each.appearance[0, :, 0, 0, 0].tolist() for each in cubes]
    assert times[:3] == [[1] * 5, [1, 1, 1, 1, 2], [1, 1, 1, 2, 3]]
    assert times[6] == [3, 4, 5, 6, 7]
    flows = [each.motion[0, :, 0, 0].tolist() for each in cubes]
    assert flows[0] == [[0, 0]] * 4
    assert flows[2] == [[0, 0], [0, 0], [1, 2], [2, 3]]
    assert flows[6] == [[3, 4], [4, 5], [5, 6], [6, 7]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
@pytest.mark.parametrize("regions", [False, True])
def test_cubes_do_not_depend_on_the_batch_size(batch_size: int, regions: bool) -> None:
    frames = list(moving_squares(13))
    boxes = [[[2 * i, 8, 2 * i + 14, 22]] for i in range(13)]

    def extract(size: int) -> list[FrameCubes]:
        source = box_source(boxes, regions)
        return run(CubeExtractor(source, DISFlow(preset="ultrafast"), size), frames)

    plain = extract(1)
    assert len(plain) == 13 and (max(len(each.boxes) for each in plain) > 1) is regions
    require_equal(extract(batch_size), plain)


def test_frames_come_back_with_one_frame_of_delay_at_most() -> None:
    frames = numbered_frames(4)
    for regions, ready in ((False, [1, 1, 1, 1]), (True, [0, 1, 1, 1])):
        extractor = CubeExtractor(box_source([[]] * 4, regions), CountedFlow())
        extractor.start()
        assert [len(extractor.push(frame)) for frame in frames] == ready
        assert len(extractor.flush()) == regions


def test_no_flow_is_computed_where_nothing_is_seen() -> None:
    boxes = [[]] * 9 + [[0, 0, 8, 8]] + [[]] * 5
    flow = CountedFlow()
    for batch_size in (1, 4, 20):
        flow.pairs = []
        cubes = run(CubeExtractor(box_source(boxes), flow, batch_size), numbered_frames(15))
        assert flow.pairs == [(6, 7), (7, 8), (8, 9), (9, 10)]
        assert [len(each.boxes) for each in cubes] == [0] * 9 + [1] + [0] * 5
        assert cubes[9].motion[0, :, 0, 0].tolist() == [[6, 7], [7, 8], [8, 9], [9, 10]]


def test_an_estimator_that_reads_in_order_is_asked_for_every_frame() -> None:
    flow = CountedFlow()
    flow.is_sequential = True
    run(CubeExtractor(box_source([[]] * 6), flow), numbered_frames(6))
    assert flow.pairs == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]


def test_a_second_video_knows_nothing_of_the_first() -> None:
    frames = list(moving_squares(8))
    extractor = CubeExtractor(box_source([[0, 0, 8, 8]] * 8, True), DISFlow(preset="ultrafast"))
    first = run(extractor, frames)
    extractor.start()
    extractor.push(frames[3])  # given up in the middle
    require_equal(run(extractor, frames), first)


def test_boxes_outside_the_frame_are_moved_into_it() -> None:
    boxes = [[[-20, -20, -10, -10], [5, 5, 5, 5], [90, 60, 900, 600], [200, 100, 210, 110]]]
    cubes = run(CubeExtractor(box_source(boxes), CountedFlow()), numbered_frames(1))[0]
    assert cubes.appearance.shape == (4, 5, 32, 32, 3)
    assert cubes.boxes.tolist() == [
        [0, 0, 2, 2],
        [5, 5, 7, 7],
        [90, 60, WIDTH, HEIGHT],
        [WIDTH - 2, HEIGHT - 2, WIDTH, HEIGHT],
    ]


def test_a_long_stream_needs_no_more_memory_than_a_short_one() -> None:
    extractor = CubeExtractor(box_source([[0, 0, 8, 8]] * 60, True), CountedFlow(), 3)
    extractor.start()
    for frame in numbered_frames(60):
        extractor.push(frame)
        assert len(extractor._window) + len(extractor._waiting) <= 8


def test_a_frame_of_another_size_is_an_error() -> None:
    extractor = CubeExtractor(box_source([[]] * 3), CountedFlow())
    extractor.push(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(UserError, match="frame 1: size 10x12 differs"):
        extractor.push(np.zeros((12, 10, 3), np.uint8))
    extractor.start()
    with pytest.raises(UserError, match=r"\(1, 9, 3\)"):
        extractor.push(np.zeros((1, 9, 3), np.uint8))


@pytest.mark.parametrize("batch_size", [1, 5])
def test_cubes_equal_the_published_implementation(vad_data: Path, batch_size: int) -> None:
    with np.load(vad_data / "reference" / "cubes_ped2_train01_f50.npz") as content:
        reference = dict(content)
    folder = vad_data / "reference" / "frames" / "train_01"
    frames = [cv2.imread(str(folder / f"{index:03d}.jpg")) for index in range(46, 51)]
    fields = reference["flow_full"].astype(np.float32).transpose(0, 2, 3, 1)

    class StoredFlow(FlowEstimator):
        def __call__(self, previous: list, current: list) -> list[np.ndarray]:
            places = [next(i for i, each in enumerate(frames) if each is c) for c in current]
            return [np.ascontiguousarray(fields[place]) for place in places]

    source = box_source([reference["boxes"]] * 5)
    last = run(CubeExtractor(source, StoredFlow(), batch_size), frames)[-1]
    np.testing.assert_array_equal(last.boxes, reference["boxes"])
    appearance = last.appearance.transpose(0, 1, 4, 2, 3)
    np.testing.assert_array_equal(appearance, reference["appearance"])
    motion = last.motion.transpose(0, 1, 4, 2, 3)
    np.testing.assert_array_equal(motion, reference["motion"][:, 1:].astype(np.float16))
