"""From videos to snippet features: crops, snippets, resuming, and the backbones."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.models import get_model

from datasets.features.dataset import FeatureSet
from datasets.manifest import DataSet, VideoEntry, save_dataset
from pre_process.extract_features import main
from pre_process.features import torchvision_video
from pre_process.features.build import build_backbone
from pre_process.features.crops import crop_windows
from pre_process.features.hof import HOFBackbone
from pre_process.features.i3d import I3DResNet50, build_i3d
from pre_process.features.network import NetworkBackbone
from pre_process.features.torchvision_video import build_torchvision
from utils.config.frd import FeatureConfig
from utils.errors import UserError

CPU = torch.device("cpu")


def scene(num_frames: int, speed: float, seed: int = 0) -> list[np.ndarray]:
    """A textured square that moves to the right over a still texture; 96x64 BGR."""
    random = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(random.integers(0, 255, (64, 96, 3), np.uint8), (5, 5), 0)
    patch = cv2.GaussianBlur(random.integers(0, 255, (20, 20, 3), np.uint8), (5, 5), 0)
    frames = []
    for index in range(num_frames):
        frame, left = ground.copy(), round(8 + speed * index)
        frame[22:42, left : left + 20] = patch
        frames.append(frame)
    return frames


def make_dataset(folder, lengths: dict[str, int]) -> None:
    """Videos of the moving square as folders of images, all in the training split."""
    entries = []
    for name, length in lengths.items():
        source = folder / "raw" / name
        source.mkdir(parents=True)
        for index, frame in enumerate(scene(length, 1.0)):
            cv2.imwrite(str(source / f"{index:03d}.png"), frame)
        entries.append(VideoEntry(name, "training", source, "frames", 0, length, 96, 64))
    save_dataset(DataSet(folder, "toy", tuple(entries)))


@pytest.fixture
def dataset(tmp_path):
    """Command line for a data set with one long, one odd and one very short video."""
    make_dataset(tmp_path / "data", {"a": 32, "b": 27, "c": 5})
    config = tmp_path / "c.yaml"
    config.write_text(f"system: frd\ndata: {{name: toy, root: {tmp_path / 'data'}}}\n")
    return tmp_path / "data" / "features" / "training", ["--cfg_file", str(config), "--workers"]


def test_ten_crops_are_centre_corners_and_mirrors():
    windows = crop_windows(10, 20, 4, 6, 10)
    assert [(w.top, w.left) for w in windows[:5]] == [(3, 7), (0, 0), (0, 14), (6, 0), (6, 14)]
    assert [w.mirrored for w in windows] == [False] * 5 + [True] * 5
    assert [w[:4] for w in windows[5:]] == [w[:4] for w in windows[:5]]
    assert crop_windows(10, 20, 4, 6, 1) == windows[:1]


def test_nine_crops_are_a_grid_of_overlapping_patches():
    windows = crop_windows(10, 20, 4, 8, 9)
    assert [window.top for window in windows] == [0] * 3 + [3] * 3 + [6] * 3
    assert [window.left for window in windows] == [0, 6, 12] * 3
    assert not any(window.mirrored for window in windows)
    with pytest.raises(ValidationError, match="need backend efficientnet_lite0"):
        FeatureConfig(backend="hof", crops=9)


def test_picture_features_are_means_over_spread_frames_of_each_patch():
    pytest.importorskip("efficientnet_lite_pytorch")
    frames = [scene(1, 1.0, seed)[0] for seed in range(7)]
    config = FeatureConfig(backend="efficientnet_lite0", crops=9, device="cpu")
    backbone = build_backbone(config, 7)
    assert backbone.feature_size == 1280
    prepared = [backbone.prepare(frame) for frame in frames]
    (whole,) = backbone([prepared])
    singles = [backbone([[prepared[place]] * 7])[0] for place in (0, 2, 4, 6)]
    np.testing.assert_allclose(whole, np.mean(singles, axis=0), atol=1e-4)
    # A patch knows nothing of what happens at the other end of the frame.
    frames[0][:8, :8] = 255
    (changed,) = backbone([[backbone.prepare(frames[0]), *prepared[1:]]])
    moved = np.abs(changed - whole).max(axis=1)
    assert moved[0] > 1e-3 and moved[[2, 5, 6, 7, 8]].max() < 1e-4


def test_snippets_of_a_data_set_alone_and_in_two_processes(dataset):
    folder, command = dataset
    main([*command, "1"])
    features = FeatureSet.open(folder)
    assert features.names == ["a", "b", "c"] and features.lengths.tolist() == [2, 1, 1]
    assert (features.crops, features.feature_size) == (10, 256)
    alone = features.read(0, 4)
    main([*command, "2", "--overwrite"])
    np.testing.assert_array_equal(FeatureSet.open(folder).read(0, 4), alone)


def test_finished_videos_are_kept_and_other_settings_refused(dataset, capsys):
    folder, command = dataset
    main([*command, "1"])
    before = (folder / "a.npy").stat().st_mtime_ns
    (folder / "b.npy").unlink()
    main([*command, "1"])
    assert (folder / "b.npy").exists() and (folder / "a.npy").stat().st_mtime_ns == before
    assert "3 videos, 1 to extract" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "1", "--set", "pre_process.features.crops=1"])
    error = capsys.readouterr().err
    assert "crops 10, now 1" in error and "--overwrite" in error
    main([*command, "1", "--overwrite", "--set", "pre_process.features.crops=1"])
    assert FeatureSet.open(folder).crops == 1


def test_features_from_elsewhere_are_not_mixed_with_new_ones(dataset, capsys):
    folder, command = dataset
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "a.npy", np.zeros((2, 10, 2048), np.float32))
    with pytest.raises(SystemExit):
        main([*command, "1"])
    assert "features there are from elsewhere (no settings.json)" in capsys.readouterr().err


def test_a_broken_video_is_named_and_leaves_no_file(dataset, capsys):
    folder, command = dataset
    (folder.parent.parent / "raw" / "b" / "026.png").unlink()
    with pytest.raises(SystemExit):
        main([*command, "1"])
    assert "video b" in capsys.readouterr().err
    assert not list(folder.glob("*b*"))


def hof(frames, crops=1) -> np.ndarray:
    backbone = HOFBackbone(len(frames), crops)
    return backbone([[backbone.prepare(frame) for frame in frames]])[0]


def test_hof_sees_direction_speed_and_mirrors():
    slow, fast = hof(scene(8, 1.0))[0], hof(scene(8, 3.0))[0]
    values = slow.reshape(16, 16)
    assert values[:, 0].max() > 2 * values[:, [2, 4, 6]].max()  # rightwards
    assert fast.reshape(16, 16)[:, 0].max() > 1.4 * values[:, 0].max()
    assert hof(scene(8, 0.0))[0].reshape(16, 16)[:, :12].max() < 0.05 * values[:, 0].max()
    mirrored = hof([np.ascontiguousarray(frame[:, ::-1]) for frame in scene(8, 1.0)], crops=10)
    straight = hof(scene(8, 1.0), crops=10)
    scale = straight.max()
    np.testing.assert_allclose(mirrored[0] / scale, straight[5] / scale, atol=0.05)
    assert abs(mirrored[0] - straight[0]).max() > 0.5 * scale


class Moments(torch.nn.Module):
    """Mean of each colour and of the left half: enough to see what a crop holds."""

    def forward(self, clips):
        half = clips[..., : clips.shape[-1] // 2]
        return torch.cat([clips.mean((2, 3, 4)), half.mean((2, 3, 4))], dim=1)


def test_network_backbone_crops_mirrors_and_normalises():
    backbone = NetworkBackbone(Moments(), (12, 16), 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 10, 2, CPU)
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[:, :16, 0] = 255  # blue on the left
    features = backbone([[backbone.prepare(frame)] * 2] * 3)
    assert features.shape == (3, 10, 6)
    np.testing.assert_allclose(features[0, :, 0], -1)  # no red anywhere
    np.testing.assert_allclose(features[0, 0, [2, 5]], [0, 1], atol=1e-6)  # left half blue
    np.testing.assert_allclose(features[0, 5, [2, 5]], [0, -1], atol=1e-6)  # its mirror image
    np.testing.assert_allclose(features[0, 1, 2], 1)  # top left corner
    np.testing.assert_allclose(features[0, 2, 2], -1)  # top right corner


def test_torchvision_network_from_a_file(tmp_path):
    torch.save(get_model("r3d_18").state_dict(), tmp_path / "w.pth")
    config = FeatureConfig(backend="r3d_18", weights=str(tmp_path / "w.pth"), crops=1, device="cpu")
    backbone = build_backbone(config, 8)
    assert backbone.feature_size == 512
    features = backbone([[backbone.prepare(frame) for frame in scene(8, 1.0)]])
    assert features.shape == (1, 1, 512) and np.ptp(features) > 0


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("r3d_18", 512), ("mc3_18", 512), ("r2plus1d_18", 512), ("s3d", 1024),
        ("mvit_v1_b", 768), ("mvit_v2_s", 768),
        ("swin3d_t", 768), ("swin3d_s", 768), ("swin3d_b", 1024),
    ],
)  # fmt: skip
def test_every_torchvision_network_gives_features_of_its_documented_size(
    tmp_path, monkeypatch, name, size
):
    """Shapes only: on the meta device nothing is computed, and no weights are needed."""
    assert name in get_args(FeatureConfig.model_fields["backend"].annotation)
    torch.save({}, tmp_path / "w.pth")
    monkeypatch.setattr(torchvision_video, "load_weights", lambda *_: None)
    meta = torch.device("meta")
    with meta:
        backbone = build_torchvision(name, str(tmp_path / "w.pth"), 10, 16, meta)
    assert backbone.feature_size == size


@pytest.mark.parametrize("non_local", [False, True])
def test_i3d_from_a_file_with_and_without_non_local_blocks(tmp_path, non_local):
    network = I3DResNet50(non_local)
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 3, 16, 64, 64)).shape == (1, 2048)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state["module.fc.weight"] = torch.zeros(400, 2048)
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    backbone = build_i3d(tmp_path / "w.pth", 1, 16, CPU)
    assert backbone.feature_size == 2048
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())
    shapes = {key: tuple(value.shape) for key, value in loaded.items()}
    assert shapes["layer2.0.downsample.0.weight"] == (512, 256, 1, 1, 1)
    assert shapes["layer4.1.conv1.weight"] == (512, 2048, 3, 1, 1)
    assert ("layer3.5.nl.theta.weight" in shapes) == non_local


@pytest.mark.parametrize(
    ("settings", "frames", "words"),
    [
        ({"backend": "hof"}, 1, "2 or more"),
        ({"backend": "i3d_r50"}, 16, "needs weights"),
        ({"backend": "s3d", "weights": "nonsense"}, 16, "KINETICS400_V1"),
        ({"backend": "i3d_r50", "weights": "none.pth"}, 16, "none.pth: no such"),
    ],
)
def test_what_a_backbone_lacks_is_said(settings, frames, words):
    with pytest.raises(UserError, match=words):
        build_backbone(FeatureConfig(**settings), frames)


def test_snippets_too_short_for_a_network():
    with pytest.raises(UserError, match=r"frames_per_snippet.*2 frames"):
        NetworkBackbone(torch.nn.Conv3d(3, 1, 3), (12, 16), 8, (0, 0, 0), (1, 1, 1), 1, 2, CPU)
