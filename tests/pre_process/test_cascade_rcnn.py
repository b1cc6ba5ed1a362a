"""The published detector: mmdet's own model and pipeline, torchvision's NMS and RoIAlign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision

from pre_process.detectors.cascade_rcnn import (
    MMDetDetector,
    build_network,
    build_pipeline,
    load_mmdet_config,
)
from pre_process.detectors.mmcv_ops import EXTENSION, nms
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config():
    """The default configuration at a quarter of its image size, no detection left out."""
    config = load_mmdet_config("")
    config.test_dataloader.dataset.pipeline[1].scale = (333, 200)
    config.model.test_cfg.rcnn.score_thr = 0.0
    config.model.test_cfg.rpn.update(nms_pre=200, max_per_img=60)
    return config


@pytest.fixture(scope="module")
def network(config):
    """Cascade R-CNN R101-FPN with random weights."""
    torch.manual_seed(0)
    return build_network(config)


@pytest.fixture
def detector(config, network) -> MMDetDetector:
    built = MMDetDetector.__new__(MMDetDetector)
    built.model, built.prepare = network, build_pipeline(config)
    return built


def make_frame(width: int = 120, height: int = 80) -> np.ndarray:
    """A frame with a few bright rectangles."""
    frame = np.full((height, width, 3), 60, np.uint8)
    for x, y, w, h in [(10, 20, 12, 40), (60, 10, 8, 30), (90, 50, 20, 15)]:
        cv2.rectangle(frame, (x, y), (x + w, y + h), (40, 200, 220), -1)
    return frame


def plain_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:
    """Greedy suppression, box by box."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlap(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def overlap(a: np.ndarray, b: np.ndarray, offset: int) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inner = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return inner / (sum(areas) - inner)


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_a_plain_one(offset):
    random = np.random.default_rng(offset)
    corner = random.uniform(0, 30, (80, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 20, (80, 2))], 1).astype(np.float32)
    scores = random.permutation(80).astype(np.float32)
    found = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4, offset)
    assert found.tolist() == plain_nms(boxes, scores, 0.4, offset)


def test_default_configuration_is_the_published_detector(config):
    assert config.model.type == "CascadeRCNN"
    assert config.model.backbone.depth == 101
    assert len(config.model.roi_head.bbox_head) == 3


def test_real_model_on_a_real_frame(detector, vad_data, monkeypatch):
    """Whatever the model gives to NMS and RoIAlign comes out as torchvision computes it."""
    frame_path = sorted((vad_data / "reference" / "frames" / "train_01").iterdir())[0]
    frame = cv2.imread(str(frame_path))
    suppressed, pooled = [], []

    def recording_nms(boxes, scores, iou_threshold, offset):
        kept = nms(boxes, scores, iou_threshold, offset)
        suppressed.append((boxes, scores, iou_threshold, offset, kept))
        return kept

    monkeypatch.setattr(sys.modules[EXTENSION], "nms", recording_nms)
    from mmcv.ops import RoIAlign

    layers = [layer for layer in detector.model.modules() if isinstance(layer, RoIAlign)]
    hooks = [layer.register_forward_hook(lambda *call: pooled.append(call)) for layer in layers]
    boxes = detector.detect([frame])[0]
    for hook in hooks:
        hook.remove()

    assert len(layers) == 12  # three stages, four levels
    assert suppressed
    assert pooled
    assert boxes.shape[1] == 5 and boxes.dtype == np.float32 and len(boxes) > 0
    assert (np.diff(boxes[:, 4]) <= 0).all()
    height, width = frame.shape[:2]
    assert (boxes[:, :4] >= 0).all()
    assert (boxes[:, :4] <= [width + 1, height + 1, width + 1, height + 1]).all()
    for call_boxes, scores, threshold, offset, kept in suppressed:
        assert offset == 0
        assert torch.equal(kept, torchvision.ops.nms(call_boxes, scores, threshold))
        expected = plain_nms(call_boxes.numpy(), scores.numpy(), threshold, offset)
        assert sorted(kept.tolist()) == sorted(expected)
    for layer, (features, rois), output in pooled:
        expected = torchvision.ops.roi_align(
            features, rois, (7, 7), layer.spatial_scale, layer.sampling_ratio, aligned=True
        )
        assert torch.equal(output, expected)


def test_a_batch_gives_what_single_frames_give(detector):
    first, second = make_frame(), make_frame()[:, ::-1].copy()
    together = detector.detect([first, second])
    for frame, found in zip((first, second), together, strict=True):
        alone = detector.detect([frame])[0]
        assert found.shape == alone.shape
        np.testing.assert_allclose(found[:, 4], alone[:, 4], atol=1e-5)
    assert detector.detect([]) == []


def constant_state(network) -> dict[str, torch.Tensor]:
    """Right names and shapes, one stored number a tensor, so that the file is small."""
    state = network.state_dict()
    return {key: torch.full((), 0.5, dtype=v.dtype).expand(v.shape) for key, v in state.items()}


def test_checkpoint_of_older_versions_loads(network, tmp_path):
    state = constant_state(network)
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    weights = tmp_path / "published.pth"
    torch.save(
        {"meta": {"CLASSES": ["person"], "time": np.float64(3.0)}, "state_dict": old}, weights
    )
    detector = MMDetDetector("", str(weights), torch.device("cpu"))
    assert detector.model.backbone.conv1.weight.eq(0.5).all()
    assert not detector.model.training


def test_checkpoint_of_another_model_is_named(network, tmp_path):
    state = constant_state(network)
    del state["neck.fpn_convs.0.conv.weight"]
    state["backbone.conv1.weight"] = torch.zeros(1)
    weights = tmp_path / "other.pth"
    torch.save({"state_dict": state}, weights)
    with pytest.raises(UserError) as caught:
        MMDetDetector("", str(weights), torch.device("cpu"))
    assert "neck.fpn_convs.0.conv.weight" in str(caught.value)
    assert "backbone.conv1.weight" in str(caught.value)


@pytest.mark.parametrize("weights", ["", "nowhere.pth"])
def test_missing_checkpoint_says_where_it_is_had(weights):
    with pytest.raises(UserError, match=r"cascade_rcnn_r101_fpn_1x_coco_20200317-0b6a2fbf\.pth"):
        MMDetDetector("", weights, torch.device("cpu"))


def test_missing_configuration_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.py.*pre_process\.boxes\.model"):
        load_mmdet_config(str(tmp_path / "nowhere.py"))


def test_unreadable_configuration_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("model = dict(", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.py"):
        load_mmdet_config(str(path))


def test_other_compiled_operations_are_refused_when_called():
    extension = sys.modules[EXTENSION]
    with pytest.raises(UserError, match="softnms"):
        extension.softnms(1)
    with pytest.raises(AttributeError):
        _ = extension.__wrapped__


def test_mmdet_is_imported_only_when_used():
    code = (
        "import sys, pre_process.detectors.cascade_rcnn; "
        "assert not {'mmdet', 'mmcv', 'mmengine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
