"""Detector backends and the box source made from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pre_process.detectors.base import Detector
from pre_process.detectors.build import BoxSource, build_detector
from pre_process.detectors.motion import MotionDetector
from pre_process.detectors.yolox import decode, suppress_overlapping, tile_windows
from tests.helpers.tiny_videos import HEIGHT, WIDTH, moving_squares
from utils.config.hf2vad import BoxConfig
from utils.errors import UserError


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return float(np.prod(sides) / (sum(areas) - np.prod(sides)))


def boxes_of(source: BoxSource, frames: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
    source.start()
    found = []
    for first in range(0, len(frames), batch_size):
        following = frames[first + batch_size] if first + batch_size < len(frames) else None
        found += source(frames[first : first + batch_size], following)
    return found


class BrightSpots(Detector):
    """Boxes around everything bright, scored 0.9, and nonsense beside them."""

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        found = []
        for frame in frames:
            mask = (frame.min(axis=2) > 120).astype(np.uint8)
            spots = cv2.connectedComponentsWithStats(mask)[2][1:2, :4].astype(np.float32)
            spots[:, 2:] += spots[:, :2]
            nonsense = [[0, 0, 50, 50, 0.1], [0, 0, np.nan, 9, 0.9], [1, 1, 3, 3, 0.9]]
            found.append(np.concatenate([np.insert(spots, 4, 0.9, axis=1), nonsense]))
        return found


@pytest.mark.parametrize("batch_size", [2, 5, 11])
def test_boxes_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    frames = list(moving_squares(11))
    source = BoxSource(BrightSpots(), BoxConfig(min_area=50))
    assert source.needs_following
    plain = boxes_of(source, frames, 1)
    assert max(map(len, plain)) > 1, "a moving region joins the detected spot"
    assert all(len(each) and np.isfinite(each).all() for each in plain)
    for one, other in zip(plain, boxes_of(source, frames, batch_size), strict=True):
        np.testing.assert_array_equal(one, other)


def test_motion_detector_finds_what_moves_and_nothing_else() -> None:
    frames = moving_squares(40, sizes=(16,))
    rng = np.random.default_rng(0)
    frames = np.clip(frames + rng.normal(0, 2, frames.shape), 0, 255).astype(np.uint8)
    source = BoxSource(MotionDetector(), BoxConfig(min_area=60))
    assert not source.needs_following
    found = boxes_of(source, list(frames), 7)
    hits = 0
    for frame, boxes in zip(frames[20:], found[20:], strict=True):
        ys, xs = np.nonzero(frame.min(axis=2) > 130)
        truth = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert len(boxes) <= 2
        hits += any(overlap(box, truth) > 0.6 for box in boxes)
    assert hits >= 12


def test_motion_detector_starts_each_video_afresh() -> None:
    frames = list(moving_squares(15))
    source = BoxSource(MotionDetector(), BoxConfig(min_area=20))
    first = boxes_of(source, frames, 4)
    boxes_of(source, list(moving_squares(9, seed=5)), 4)
    assert sum(map(len, first)) > 0
    for one, other in zip(first, boxes_of(source, frames, 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_motion_detector_shrinks_large_frames_only() -> None:
    frames = moving_squares(30, sizes=(16,))
    large = [
        cv2.resize(frame, None, fx=10, fy=10, interpolation=cv2.INTER_NEAREST) for frame in frames
    ]
    detector = MotionDetector()
    found = detector.detect(large)[-1]
    truth = np.argwhere(frames[-1].min(axis=2) > 130)
    truth = np.concatenate([truth.min(axis=0)[::-1], truth.max(axis=0)[::-1] + 1]) * 10
    assert max(overlap(box[:4], truth) for box in found) > 0.6


def fake_yolox(path: Path, cells: dict[int, list[float]]) -> Path:
    """A network with YOLOX-Nano's interface that always answers the same."""
    output = np.zeros((1, 3549, 85), np.float32)
    for cell, (x, y, width, height, score) in cells.items():
        output[0, cell, :6] = [x, y, width, height, score, 1.0]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["constant"], ["output"])],
        "fake",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 416, 416])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3549, 85])],
        [numpy_helper.from_array(output, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def test_yolox_boxes_come_back_in_frame_pixels(tmp_path: Path) -> None:
    # Cell 2704 is the first of stride 16 (after 52 * 52 of stride 8); cell 2704 + 27: x 1, y 1.
    weights = fake_yolox(
        tmp_path / "fake.onnx",
        {2704 + 27: [0.5, 0.5, np.log(2), np.log(1), 0.8], 0: [0, 0, 0, 0, 0.2]},
    )
    config = BoxConfig(backend="yolox", weights=str(weights), score_threshold=0.5)
    detector = build_detector(config, "cpu")
    found = detector.detect([np.zeros((104, 208, 3), np.uint8)] * 2)  # enlarged twice
    # Centre (1.5, 1.5) * 16 = (24, 24), size (32, 16); halved: x 4..20, y 8..16.
    for each in found:
        np.testing.assert_allclose(each, [[4, 8, 20, 16, 0.8]], rtol=1e-5)


def test_tiles_drop_what_they_cut(tmp_path: Path) -> None:
    # In every window a box in the middle and one at the left edge.
    middle = [0.0, 0.0, np.log(5), np.log(5), 0.9]
    edge = [0.0, 0.0, np.log(4), np.log(4), 0.9]
    weights = fake_yolox(
        tmp_path / "fake.onnx", {2704 + 13 * 26 + 13: middle, 2704 + 13 * 26: edge}
    )
    config = BoxConfig(backend="yolox", weights=str(weights), tiles=2)
    found = build_detector(config, "cpu").detect([np.zeros((70, 70, 3), np.uint8)])[0]
    assert (found[:, 0] < 1).sum() == 3  # those at the frame's own left edge: whole frame, 2 tiles


@given(
    st.integers(1, 5),
    st.tuples(st.integers(2, 200), st.integers(2, 200)),
)
def test_tiles_cover_the_frame(tiles: int, shape: tuple[int, int]) -> None:
    frame = np.zeros((*shape, 3), np.uint8)
    seen = np.zeros(shape, bool)
    windows = list(tile_windows(frame, tiles))
    for x, y, window in windows:
        assert window.shape[:2] == seen[y : y + window.shape[0], x : x + window.shape[1]].shape
        seen[y : y + window.shape[0], x : x + window.shape[1]] = True
    assert seen.all() or (tiles == 1 and not windows)


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4, st.floats(0, 1, width=32)), max_size=15))
def test_suppression_equals_a_greedy_loop(rows: list[tuple]) -> None:
    boxes = np.array(rows, np.float32).reshape(-1, 5)
    boxes[:, 2:4] += boxes[:, :2]  # zero sides stay: such a box has no area
    np.testing.assert_array_equal(suppress_overlapping(boxes, 0.45), _greedy(boxes, 0.45))


def _greedy(boxes: np.ndarray, threshold: float) -> np.ndarray:
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
        if all(_intersection_over_union(box, other) <= threshold for other in kept):
            kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 5)


def _intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    common = np.prod(np.maximum(sides, 0))
    union = np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2]) - common
    return float(common / union) if union > 0 else 0.0


def test_of_boxes_with_equal_scores_the_first_stays() -> None:
    boxes = np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.5]], np.float32)
    np.testing.assert_array_equal(suppress_overlapping(boxes, 0.45), boxes[:1])
    np.testing.assert_array_equal(suppress_overlapping(boxes[::-1], 0.45), boxes[1:])


def test_boxes_without_area_suppress_nothing() -> None:
    boxes = np.array([[2, 2, 2, 2, 0.9], [2, 2, 2, 2, 0.8], [0, 0, 4, 4, 0.7]], np.float32)
    np.testing.assert_array_equal(suppress_overlapping(boxes, 0.45), boxes)


def test_decoding_takes_the_best_class() -> None:
    output = np.zeros((2, 85), np.float32)
    output[0, 4], output[0, 5], output[0, 84] = 0.5, 0.2, 0.9
    found = decode(output, np.array([[1, 2, 8], [0, 0, 8]], np.float32), 0.3)
    np.testing.assert_allclose(found, [[4, 12, 12, 20, 0.45]])


@pytest.mark.parametrize(
    ("device", "providers"),
    [
        ("cpu", ["CPUExecutionProvider"]),
        ("auto", [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]),
        ("cuda", [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]),
        ("cuda:1", [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]),
    ],
)
def test_yolox_runs_on_the_gpu_that_is_named(tmp_path, monkeypatch, caplog, device, providers):
    asked = []

    def open_on_the_cpu(weights, options, providers):
        asked.append(providers)
        return real(weights, options, providers=["CPUExecutionProvider"])

    real = onnxruntime.InferenceSession
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_the_cpu)
    config = BoxConfig(backend="yolox", weights=str(fake_yolox(tmp_path / "fake.onnx", {})))
    build_detector(config, device)
    assert asked == [providers]
    assert ("yolox runs on the CPU" in caplog.text) == device.startswith("cuda")


def test_yolox_sees_the_people_of_a_real_frame(vad_data: Path) -> None:
    frame = cv2.imread(str(vad_data / "reference" / "frames" / "train_01" / "060.jpg"))
    with np.load(vad_data / "reference" / "boxes_ped2.npz") as content:
        truth = content["ped2/train/01/60/kept"]
    counts = []
    for tiles in (1, 2):
        weights = str(vad_data / "data" / "weights" / "yolox_nano.onnx")
        config = BoxConfig(backend="yolox", weights=weights, tiles=tiles)
        boxes = BoxSource(build_detector(config, "cpu"), config)([frame], None)[0]
        counts.append(sum(max(overlap(t, box) for box in boxes) > 0.5 for t in truth))
    assert counts[1] > counts[0] >= 5


@pytest.fixture(scope="module")
def ssd_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    model = torchvision.models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None
    )
    path = tmp_path_factory.mktemp("ssd") / "ssd.pth"
    torch.save(model.state_dict(), path)
    return str(path)


def test_torchvision_detector_loads_weights_from_a_file(ssd_weights: str) -> None:
    config = BoxConfig(
        backend="torchvision", model="ssdlite320_mobilenet_v3_large", weights=ssd_weights
    )
    detector = build_detector(config, "cpu")
    frames = list(moving_squares(2))
    found = detector.detect(frames)
    assert len(found) == 2 and detector.detect([]) == []
    for each in found:
        assert each.dtype == np.float32 and each.shape[1] == 5 and len(each) > 0
        assert (each[:, :4] >= 0).all() and (each[:, :4] <= [WIDTH, HEIGHT] * 2).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "torchvision", "model": "resnet18"}, "'resnet18' is no detector"),
        (
            {
                "backend": "torchvision",
                "model": "ssdlite320_mobilenet_v3_large",
                "weights": "no_such.pth",
            },
            "neither a file nor weights",
        ),
        ({"backend": "yolox"}, r"boxes.weights: \(empty\)"),
        ({"backend": "file"}, "no boxes for a new video"),
    ],
)
def test_backends_say_what_they_lack(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_detector(BoxConfig(**settings), "cpu")


def test_files_that_are_no_networks_are_refused(tmp_path: Path, ssd_weights: str) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk.onnx: not a network"):
        build_detector(BoxConfig(backend="yolox", weights=str(junk)), "cpu")
    state = torch.load(ssd_weights, weights_only=True)
    other = {f"other.{key}": tensor for key, tensor in list(state.items())[:3]}
    torch.save(other, tmp_path / "other.pth")
    config = BoxConfig(
        backend="torchvision",
        model="ssdlite320_mobilenet_v3_large",
        weights=str(tmp_path / "other.pth"),
    )
    with pytest.raises(UserError, match=r"other\.pth.*missing"):
        build_detector(config, "cpu")
