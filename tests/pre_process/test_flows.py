"""Flow backends: size, direction, units, batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision

from pre_process.flow.base import flow_file, resize_to_frame
from pre_process.flow.build import build_flow
from pre_process.flow.dis import DISFlow
from pre_process.flow.extraction import FlowJob, flow_of_video
from pre_process.flow.file import common_flow_settings
from pre_process.flow.raft import RAFTFlow
from pre_process.work_arguments import find_unfinished
from tests.helpers.tiny_videos import make_dataset
from utils.config.hf2vad import PreProcessConfig
from utils.errors import UserError


def shifted_pair(dx: int, dy: int, height: int = 96, width: int = 128) -> tuple:
    """Two views of one texture; what is at x in the first is at x + (dx, dy) in the second."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (height + 40, width + 40, 3)).astype(np.uint8)
    texture = cv2.GaussianBlur(texture, (9, 9), 0)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    before = texture[20 : 20 + height, 20 : 20 + width]
    after = texture[20 - dy : 20 - dy + height, 20 - dx : 20 - dx + width]
    return np.ascontiguousarray(before), np.ascontiguousarray(after)


def inner_median(flow: np.ndarray) -> np.ndarray:
    return np.median(flow[20:-20, 20:-20].reshape(-1, 2), axis=0)


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_dis_gives_the_shift_from_previous_to_current(preset: str) -> None:
    before, after = shifted_pair(3, -2)
    flow = DISFlow(preset=preset)([before], [after])[0]
    assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(inner_median(flow), [3, -2], atol=0.3)


def test_vectors_stay_in_pixels_of_the_enlarged_size() -> None:
    before, after = shifted_pair(3, -2)
    flow = DISFlow(width=384, height=192)([before], [after])[0]
    assert flow.shape == (96, 128, 2)
    np.testing.assert_allclose(inner_median(flow), [9, -4], atol=0.6)


def test_dis_knobs_reach_the_algorithm() -> None:
    before, after = shifted_pair(2, 1)
    plain = DISFlow()([before], [after])[0]
    for knob in ({"patch_size": 12}, {"patch_stride": 6}, {"finest_scale": 3}):
        assert not np.array_equal(DISFlow(**knob)([before], [after])[0], plain)
    assert not np.array_equal(DISFlow(refinement_iterations=0)([before], [after])[0], plain)


def test_frames_prepared_once_give_the_same_flow() -> None:
    frames = [shifted_pair(step, 0)[1] for step in range(4)]
    together = DISFlow(preset="fast")(frames[:-1], frames[1:])
    for index, flow in enumerate(together):
        alone = DISFlow(preset="fast")([frames[index]], [frames[index + 1]])[0]
        np.testing.assert_array_equal(flow, alone)


def test_resizing_does_not_rescale_vectors() -> None:
    flow = np.full((20, 40, 2), 7, np.float32)
    small = resize_to_frame(flow, np.zeros((10, 8, 3), np.uint8))
    assert small.shape == (10, 8, 2) and (small == 7).all()


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft.pth"
    torch.save(torchvision.models.get_model("raft_small", weights=None).state_dict(), path)
    return str(path)


def test_raft_pads_batches_and_crops(raft_weights: str) -> None:
    raft = RAFTFlow("raft_small", raft_weights, (0, 0), torch.device("cpu"), "fp32")
    pairs = [shifted_pair(1, 0, 60, 132), shifted_pair(0, 1, 60, 132)]
    together = raft([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    assert raft([], []) == []
    for flow, (before, after) in zip(together, pairs, strict=True):
        assert flow.shape == (60, 132, 2) and flow.dtype == np.float32
        alone = raft([before], [after])[0]
        np.testing.assert_allclose(flow, alone, atol=1e-3 * np.abs(alone).max())
    assert not np.allclose(together[0], together[1])


def test_raft_computes_at_the_configured_size(raft_weights: str) -> None:
    config = PreProcessConfig(
        flow={"backend": "raft", "weights": raft_weights, "width": 136, "height": 128}
    )
    before, after = shifted_pair(1, 0, 64, 68)
    flow = build_flow(config)([before], [after])[0]
    assert flow.shape == (64, 68, 2)
    enlarged = [cv2.resize(each, (136, 128)) for each in (before, after)]
    native = RAFTFlow("raft_small", raft_weights, (0, 0), torch.device("cpu"), "fp32")
    expected = cv2.resize(native([enlarged[0]], [enlarged[1]])[0], (68, 64))
    np.testing.assert_allclose(flow, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"backend": "raft", "weights": "no_such.pth"}, "neither a file nor weights"),
        ({"backend": "file"}, "no flow for a new video"),
    ],
)
def test_backends_say_what_they_lack(flow: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_flow(PreProcessConfig(flow=flow))


def test_weights_of_another_network_are_refused(raft_weights: str) -> None:
    config = PreProcessConfig(
        flow={"backend": "raft", "model": "raft_large", "weights": raft_weights}
    )
    with pytest.raises(UserError, match=r"raft\.pth"):
        build_flow(config)


def test_stored_flow_equals_the_estimator(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "tiny")
    config = PreProcessConfig(flow={"preset": "ultrafast", "batch_size": 4})
    job = FlowJob(config, dataset, {"flow.preset": "ultrafast"})
    entry = dataset.videos("training")[0]
    seen = []
    job()(entry, seen.append)
    assert sum(seen) == entry.num_frames
    expected = list(flow_of_video(DISFlow(preset="ultrafast"), entry, 3))
    stored = np.load(flow_file(dataset.root, entry))
    assert stored.dtype == np.float16 and not stored[0].any()
    np.testing.assert_array_equal(stored, np.stack(expected).astype(np.float16))

    reader = build_flow(PreProcessConfig(flow={"backend": "file"}), dataset)
    reader.start(entry)
    given = reader([None] * 3, [None] * 3) + reader([None], [None])
    np.testing.assert_array_equal(np.stack(given), stored[1:5].astype(np.float32))
    others = [each for each in dataset.entries if each != entry]
    assert find_unfinished(job, dataset.entries) == others
    job = replace(job, settings={"flow.preset": "fast"})
    with pytest.raises(UserError, match=r"flow.preset: 'ultrafast' -> 'fast'"):
        find_unfinished(job, dataset.entries)
    assert find_unfinished(job, dataset.entries, overwrite=True) == list(dataset.entries)


def test_stored_flow_that_is_missing_or_damaged_is_an_error(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "tiny")
    entry = dataset.videos("training")[0]
    with pytest.raises(UserError, match=r"run pre_process/extract_flows\.py first"):
        common_flow_settings(dataset)
    reader = build_flow(PreProcessConfig(flow={"backend": "file"}), dataset)
    path = flow_file(dataset.root, entry)
    path.parent.mkdir(parents=True)
    for content, message in (
        (
            np.zeros((9, 8, 8, 2), np.float16),
            r"shape \(9, 8, 8, 2\), the video needs \(9, 64, 96, 2\)",
        ),
        (None, "not a whole .npy file"),
    ):
        if content is None:
            path.write_bytes(path.read_bytes()[:-5])
        else:
            np.save(path, content)
        with pytest.raises(UserError, match=message):
            reader.start(entry)
