"""Blue stays blue and right stays right, from the pictures on disk to what the networks read.

The order of colours, of time and of (u, v) is nowhere written in a file, and a network trains on
any of them: only published weights, and models trained before, would score wrongly.
"""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
import yaml

import infer
from datasets.cubes.dataset import CubeSet
from datasets.cubes.loader import CubeLoader, to_network_inputs
from datasets.videos import describe_video, read_frames
from inference import predictor
from models.hf2vad.from_checkpoint import explain
from pre_process import extract_flows, extract_samples
from tests.helpers.blue_square import (
    RGB,
    SIDE,
    STEP,
    blue_square,
    require_blue_going_right_and_down,
    write_dataset,
    write_video,
)
from tests.helpers.tiny_checkpoint import write_checkpoint
from visualization.video_writer import VideoWriter

BOXES = {"backend": "motion", "min_area": 100}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scene") / "square")


def extract(dataset, folder, backend):
    """Cubes of the training video, boxes as the motion detector gives them."""
    config = folder / "square.yaml"
    flow = {"backend": backend, "preset": "medium"}
    tree = {
        "data": {"name": "square", "root": str(dataset.root)},
        "pre_process": {"boxes": BOXES, "flow": flow},
    }
    config.write_text(yaml.safe_dump(tree))
    arguments = ["--cfg_file", str(config)]
    if backend == "file":
        extract_flows.main([*arguments, "--workers", "1", "--set", "pre_process.flow.backend=dis"])
    extract_samples.main([*arguments, "--workers", "1", "--overwrite"])
    return CubeSet.open(dataset.root, "training")


def of_the_square(cubes: CubeSet) -> np.ndarray:
    """Cubes whose box holds the square and whose frames are all different."""
    x, y = (8 + step * cubes.frames for step in STEP)
    left, top, right, bottom = cubes.boxes.T
    inside = (left < x + 4) & (right > x + SIDE - 4) & (top < y + 4) & (bottom > y + SIDE - 4)
    return np.flatnonzero(inside & (cubes.frames >= 4))


def require_blue_square(frames) -> None:
    """BGR frames of the square, possibly compressed."""
    frames = list(frames)
    assert len(frames) == 14
    for number, frame in enumerate(frames):
        x, y = (8 + step * number for step in STEP)
        found = frame[y + 4 : y + SIDE - 4, x + 4 : x + SIDE - 4].mean(axis=(0, 1))
        assert found == pytest.approx(RGB[::-1], abs=12)


def test_pictures_and_videos_are_read_as_bgr(dataset, tmp_path):
    require_blue_square(read_frames(dataset.entries[0]))
    write_video(tmp_path / "square.mp4", 14)
    require_blue_square(read_frames(describe_video(tmp_path / "square.mp4", "testing")))


def test_videos_are_written_as_bgr(tmp_path):
    with VideoWriter(tmp_path / "square.mp4", 10) as writer:
        for frame in blue_square(14):
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
    with av.open(str(tmp_path / "square.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    require_blue_square(frame[..., ::-1] for frame in decoded)


@pytest.mark.parametrize("backend", ["dis", "file"])
def test_cubes_and_network_inputs(dataset, tmp_path, backend):
    cubes = extract(dataset, tmp_path, backend)
    chosen = of_the_square(cubes)
    assert len(chosen) > 4
    require_blue_going_right_and_down(*cubes.gather(chosen))
    batch = next(CubeLoader(cubes, len(cubes)).epoch(0))
    frames, flows = to_network_inputs(batch.appearance[chosen], batch.motion[chosen])
    # Time-major channels: BGR of the oldest frame first, (u, v) of the oldest flow first.
    appearance = 255 * frames.unflatten(1, (5, 3)).permute(0, 1, 3, 4, 2)
    motion = flows.unflatten(1, (4, 2)).permute(0, 1, 3, 4, 2)
    require_blue_going_right_and_down(appearance.numpy(), motion.numpy())


class Recorder:
    """A scorer that keeps what it is given."""

    def __init__(self) -> None:
        self.cubes: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, appearance, motion):
        self.cubes.append((np.array(appearance), np.array(motion)))
        ones = torch.ones(len(appearance))
        return {"flow_error": ones, "frame_error": ones, "energy": ones, "steady_energy": ones}


def test_what_a_watched_video_is_scored_by(dataset, tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(predictor, "configured_scorer", lambda *_, **__: recorder)
    model = write_checkpoint(
        tmp_path / "last.pth", pre_process={"boxes": BOXES, "flow": {"preset": "medium"}}
    )
    source = dataset.root / "testing" / "frames" / "01"
    infer.main(["--model", str(model), "--source", str(source), "--output", str(tmp_path / "out"),
                "--threshold", "2"])  # fmt: skip
    appearance, motion = map(np.concatenate, zip(*recorder.cubes, strict=True))
    blueness = appearance[:, -1, ..., 0].astype(float) - appearance[:, -1, ..., 2]
    moving = np.abs(motion[:, 0].astype(float)).max(axis=(1, 2, 3)) > 1  # all flows are of a pair
    chosen = (blueness.mean(axis=(1, 2)) > 60) & moving
    assert chosen.sum() > 4
    require_blue_going_right_and_down(appearance[chosen], motion[chosen])


def test_pictures_show_the_last_frame_and_the_last_flow(dataset, tmp_path):
    cubes = extract(dataset, tmp_path, "dis")
    batch = next(CubeLoader(cubes, len(cubes)).epoch(0))
    frames, flows = to_network_inputs(batch.appearance, batch.motion)

    class Same(torch.nn.Module):
        def forward(self, frames, flows):
            return {"flow_recon": flows, "frame_pred": frames[:, -3:]}

    shown = explain(Same(), frames, flows)
    for flow in (shown["flow"], shown["flow_recon"]):
        assert torch.equal(flow, flows[:, 6:])
    assert torch.equal(shown["frame_target"], frames[:, 12:])
    assert not torch.equal(flows[:, 6:], flows[:, :2])
