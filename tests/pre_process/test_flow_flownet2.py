"""The FlowNet2 backend: weights files, sizes, batches, precision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from models.flownet2.flownet2 import FlowNet2
from pre_process.cubes.extractor import CubeExtractor
from pre_process.flow.build import build_flow
from pre_process.flow.flownet2 import FlowNet2Flow
from utils.config.hf2vad import FlowConfig, PreProcessConfig
from utils.errors import UserError

CPU = torch.device("cpu")


def small_state() -> dict[str, torch.Tensor]:
    """Right names and shapes; one stored number a tensor, so that the file is small."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in FlowNet2().state_dict().items()}
    values = torch.linspace(-2e-3, 2e-3, len(shapes))
    return {
        key: value.expand(shape) for (key, shape), value in zip(shapes.items(), values, strict=True)
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A file as published: old serialisation, numbers of the training beside the weights."""
    path = tmp_path_factory.mktemp("flownet2") / "FlowNet2_checkpoint.pth.tar"
    content = {"arch": "FlowNet2", "epoch": 0, "best_EPE": np.float64(1.5)}
    state = {key: value.clone().expand(value.shape) for key, value in small_state().items()}
    torch.save({**content, "state_dict": state}, path, _use_new_zipfile_serialization=False)
    return str(path)


def random_frames(count: int, height: int = 48, width: int = 72) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_flows_have_the_frames_size_and_do_not_depend_on_the_batch(weights):
    estimator = FlowNet2Flow(weights, (128, 64), CPU, "fp32")
    frames = random_frames(3)
    flows = estimator(frames[:2], frames[1:])
    assert [flow.shape for flow in flows] == [(48, 72, 2)] * 2
    assert flows[0].dtype == np.float32
    np.testing.assert_array_equal(flows[1], estimator(frames[1:2], frames[2:])[0])
    np.testing.assert_allclose(
        estimator._flows(list(itertools.pairwise(frames)))[1],
        estimator._flows([(frames[1], frames[2])])[0],
        rtol=1e-4,
        atol=1e-6,
    )
    assert estimator([], []) == []


def test_extractor_cuts_its_flows(weights):
    """Chosen by configuration; cubes hold crops of what the estimator gives."""
    flow_block = {"backend": "flownet2", "weights": weights, "width": 128, "height": 64}
    config = PreProcessConfig(flow=FlowConfig(**flow_block), device="cpu")
    frames = random_frames(3)
    boxes = np.array([[8, 4, 40, 36]], np.float32)

    def box_source(batch, following):
        return [boxes for _ in batch]

    box_source.needs_following, box_source.start = False, lambda entry: None
    extractor = CubeExtractor(box_source, build_flow(config), batch_size=3)
    cubes = [*extractor.push(frames[0]), *extractor.push(frames[1]), *extractor.push(frames[2])]
    assert [each.index for each in cubes] == [0, 1, 2]
    expected = FlowNet2Flow(weights, (128, 64), CPU)(frames[:2], frames[1:])
    crops = [flow[4:36, 8:40].astype(np.float16) for flow in expected]
    assert np.isfinite(crops).all() and np.ptp(crops) > 0
    np.testing.assert_array_equal(cubes[2].motion[0, 2:], crops)
    assert not cubes[0].motion.any()


def test_own_size_is_rounded_up(weights):
    estimator = FlowNet2Flow(weights, (0, 0), CPU, "fp32")
    frames = random_frames(2, 65, 64)
    assert estimator._enlarge(frames[0]).shape == (128, 64, 3)
    assert estimator(frames[:1], frames[1:])[0].shape == (65, 64, 2)


def test_bfloat16_is_near_and_not_the_same(weights):
    frames = random_frames(2)
    exact, short = (
        FlowNet2Flow(weights, (64, 64), CPU, precision)(frames[:1], frames[1:])[0]
        for precision in ("fp32", "bf16")
    )
    assert 0 < np.abs(exact - short).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("size", [(1000, 768), (1024, 10)])
def test_other_sizes_are_refused(size):
    with pytest.raises(UserError, match=r"pre_process\.flow\.(width|height).*64"):
        FlowNet2Flow("unused", size, CPU, "fp32")


@pytest.mark.parametrize("name", ["", "nowhere.pth.tar"])
def test_missing_weights_say_where_they_are_had(name):
    with pytest.raises(UserError, match="flownet2-pytorch"):
        FlowNet2Flow(name, (64, 64), CPU, "fp32")


def test_weights_of_another_network_are_named(tmp_path):
    state = small_state()
    del state["flownetc.conv1.0.weight"]
    state["flownets_1.conv2.0.bias"] = torch.zeros(7)
    path = tmp_path / "other.pth"
    torch.save({"state_dict": state}, path)
    with pytest.raises(UserError) as caught:
        FlowNet2Flow(str(path), (64, 64), CPU, "fp32")
    assert "missing flownetc.conv1.0.weight" in str(caught.value)
    assert "flownets_1.conv2.0.bias: (7,) instead of (128,)" in str(caught.value)


def test_a_file_without_weights_is_refused(tmp_path):
    path = tmp_path / "scores.pth"
    torch.save({"best": 3.0}, path)
    with pytest.raises(UserError, match="no weights in it"):
        FlowNet2Flow(str(path), (64, 64), CPU, "fp32")
