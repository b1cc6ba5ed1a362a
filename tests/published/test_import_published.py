"""Published files imported into our formats, and a checkpoint of ours exported."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.cubes.dataset import CubeSet
from datasets.labels.frame_labels import load_labels
from datasets.manifest import DataSet, VideoEntry, load_dataset, save_dataset
from pre_process.detectors.box_files import box_file, load_boxes
from pre_process.import_published import main
from published.inputs import open_published, with_statistics
from tests.helpers.published_files import (
    SMALL,
    make_files,
    random_samples,
    small_state,
    write_chunks,
)
from utils.checkpoint import load_checkpoint, load_finished, save_checkpoint

NUM_FRAMES = {"training": 20, "testing": 10}
SOURCE = ["--source", "data/ped2", "--output", "imported"]


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A working folder with published chunks, boxes, labels, checkpoint and configuration."""
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    for split, suffix in (("training", "train"), ("testing", "test")):
        boxes = np.empty(NUM_FRAMES[split], object)
        for frame in range(len(boxes)):
            boxes[frame] = np.full((frame % 3, 4), frame, np.float32)
        path = tmp_path / f"data/ped2/ped2_bboxes_{suffix}.npy"
        np.save(path, boxes, allow_pickle=True)
    return tmp_path


def run(*arguments: str) -> int:
    """Exit code of the script."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_data_without_the_videos(files):
    assert run(*SOURCE) == 0
    root = files / "imported"
    dataset = load_dataset(root)
    lengths = {(e.split, e.name): e.num_frames for e in dataset.entries}
    assert lengths == {("testing", "01"): 6, ("testing", "02"): 4, ("training", "all"): 20}
    assert {(e.width, e.height) for e in dataset.entries} == {(360, 240)}
    assert load_labels(root)["02"].tolist() == [1, 0, 0, 0]
    for split, seed, count in (("testing", 0, 9), ("training", 1, 7)):
        samples = random_samples(count, NUM_FRAMES[split], seed)
        cubes = CubeSet.open(root, split)
        appearance, motion = cubes.gather(np.arange(count))
        np.testing.assert_array_equal(appearance, samples["appearance"])
        np.testing.assert_array_equal(motion, samples["motion"][:, 1:].astype(np.float16))
        np.testing.assert_array_equal(cubes.boxes, samples["bbox"].astype(np.float32))
    boxes = load_boxes(box_file(root, dataset.videos("testing")[1]), 4)
    assert [each.tolist() for each in boxes] == [[], [[7.0] * 4], [[8.0] * 4] * 2, []]


def test_data_of_a_prepared_data_set(files):
    root = files / "imported"
    spans = [
        ("training", "01", 12),
        ("training", "02", 8),
        ("testing", "1", 6),
        ("testing", "2", 4),
    ]
    entries = [
        VideoEntry(name, split, root / split / name, "frames", 0, stop, 36, 24)
        for split, name, stop in spans
    ]
    save_dataset(DataSet(root, "ped2", tuple(entries)))
    assert run(*SOURCE) == 0
    cubes = CubeSet.open(root, "training")
    joined = random_samples(7, 20, 1)["pred_frame"][:, 0]
    assert cubes.video_index.tolist() == (joined >= 12).astype(int).tolist()
    assert cubes.frames.tolist() == (joined - 12 * (joined >= 12)).tolist()
    assert list(load_labels(root)) == ["1", "2"]


def test_importing_again_writes_only_what_changed(files):
    assert run(*SOURCE) == 0
    manifests = sorted((files / "imported" / "cubes").rglob("manifest.json"))
    assert len(manifests) == 3
    before = [path.stat().st_ino for path in manifests]
    assert run(*SOURCE) == 0
    assert [path.stat().st_ino for path in manifests] == before
    chunk_folder = files / "data/ped2/testing/chunked_samples"
    write_chunks(chunk_folder, random_samples(9, 10, seed=5), [4, 2, 3])
    assert run(*SOURCE) == 0
    assert [path.stat().st_ino == old for path, old in zip(manifests, before, strict=True)] == [
        False,
        False,
        True,
    ]


def test_checkpoint_with_the_same_errors_and_statistics(files):
    arguments = ["--model_save_path", "model.pth", "--cfg_file", "cfg.yaml"]
    assert run(*arguments, "--output", "ours.pth", "--set", "data.root=data/ped2") == 0
    checkpoint = load_finished("ours.pth", stages=("finetune",))
    published = with_statistics(open_published("model.pth", "cfg.yaml"), files / "results")
    assert checkpoint["statistics"] == published["statistics"]
    assert checkpoint["config"]["pre_process"]["flow"]["backend"] == "flownet2"
    assert checkpoint["config"]["model"]["memae"]["feature_root"] == SMALL["feature_root"]


def test_statistics_from_our_own_cubes(files):
    assert run(*SOURCE) == 0
    for path in (files / "data/ped2/training/chunked_samples").iterdir():
        path.unlink()
    (files / "data/ped2/training/chunked_samples").rmdir()
    arguments = ["--model_save_path", "model.pth", "--cfg_file", "cfg.yaml"]
    assert run(*arguments, "--output", "ours.pth", "--set", "data.root=imported") == 0
    assert load_finished("ours.pth")["statistics"]["num_cubes"] == 7


def test_exported_checkpoint_is_the_published_one(files):
    arguments = ["--model_save_path", "model.pth", "--cfg_file", "cfg.yaml"]
    assert run(*arguments, "--output", "ours.pth") == 0
    assert run("--export", "ours.pth", "--output", "back.pth") == 0
    state = torch.load("back.pth", weights_only=True)["model_state_dict"]
    expected = small_state()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    again = open_published("back.pth", "back_cfg.yaml")
    first = open_published("model.pth", "cfg.yaml")
    assert again.checkpoint["config"]["model"] == first.checkpoint["config"]["model"]
    assert again.checkpoint["config"]["eval"] == first.checkpoint["config"]["eval"]
    assert again.published.data_folder == first.published.data_folder


@pytest.mark.parametrize(
    ("key", "value"), [("w_energy", "0.5"), ("w_velocity", "1"), ("normalisation", "surprise")]
)
def test_a_score_that_the_published_code_lacks_is_not_exported(files, capsys, key, value):
    arguments = ["--model_save_path", "model.pth", "--cfg_file", "cfg.yaml"]
    assert run(*arguments, "--output", "ours.pth", "--set", f"eval.{key}={value}") == 0
    assert run("--export", "ours.pth", "--output", "back.pth") == 2
    assert f"eval.{key}=" in capsys.readouterr().err
    assert not Path("back.pth").exists()


def damage(name: str) -> list[str]:
    """Break one of the files; gives the arguments that then must fail."""
    if name == "malicious boxes":

        class Malicious:
            def __reduce__(self):
                return os.mkdir, ("trace",)

        boxes = np.empty(10, object)
        boxes[:] = [Malicious()] * 10
        np.save("data/ped2/ped2_bboxes_test.npy", boxes, allow_pickle=True)
    elif name == "boxes of other videos":
        np.save("data/ped2/ped2_bboxes_test.npy", np.zeros((7, 2, 4)))
    elif name == "malicious labels":
        content = b"cos\nmkdir\n(S'trace'\ntR."
        Path("data/ped2/ground_truth_demo/gt_label.json").write_bytes(content)
    elif name == "malicious chunk":
        content = b"cposix\nmkdir\n(S'trace'\ntR."
        Path("data/ped2/testing/chunked_samples/chunked_samples_01.pkl").write_bytes(content)
    elif name == "labels of other videos":
        content = pickle.dumps({0: np.zeros(3)})
        Path("data/ped2/ground_truth_demo/gt_label.json").write_bytes(content)
    return SOURCE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("malicious boxes", "ped2_bboxes_test.npy: refused"),
        ("boxes of other videos", "boxes of 7 frames"),
        ("malicious labels", "gt_label.json: refused"),
        ("malicious chunk", "chunked_samples_01.pkl: refused"),
        ("labels of other videos", "frames"),
    ],
)
def test_faulty_data_is_refused(files, capsys, name, said):
    assert run(*damage(name)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not Path("trace").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "elsewhere", "--output", "x", "--name", "ped2"], "gt_label.json"),
        (["--source", "data/ped2", "--output", "x", "--name", "yard"], "--frame_size WIDTH"),
        (["--model_save_path", "model.pth", "--output", "x"], "needs --cfg_file"),
        (["--export", "model.pth", "--output", "x"], "not a checkpoint of this project"),
    ],
)
def test_faulty_commands(files, capsys, arguments, said):
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_unknown_tensors_are_not_exported(files, capsys):
    arguments = ["--model_save_path", "model.pth", "--cfg_file", "cfg.yaml"]
    assert run(*arguments, "--output", "ours.pth") == 0
    checkpoint = load_checkpoint("ours.pth")
    checkpoint["model"]["extra"] = torch.zeros(1)
    save_checkpoint(Path("ours.pth"), checkpoint)
    assert run("--export", "ours.pth", "--output", "back.pth") == 2
    assert "extra" in capsys.readouterr().err
