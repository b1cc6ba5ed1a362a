"""What a program reads is not replaced by what it writes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import export_onnx
import infer
from inference.results.finished import FinishedVideos
from pre_process import import_features
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import write_video
from utils.errors import UserError
from utils.run_folder import claimed_folder


def fails(main, capsys, *argv) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in argv])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("folder", ["annotated", "clips"])
@pytest.mark.parametrize("live", [[], ["--live"]])
def test_videos_where_results_go(tmp_path, capsys, folder, live):
    video = tmp_path / "out" / folder / "street.avi"
    video.parent.mkdir(parents=True)
    write_video(tmp_path / "a.avi", 6).rename(video)
    video = video.rename(video.with_suffix(".mp4"))  # the name of a result
    content = video.read_bytes()
    message = fails(infer.main, capsys, "--model", write_checkpoint(tmp_path / "last.pth"),
                    "--source", video, "--output", tmp_path / "out", "--overwrite",
                    "--backend", "torch", *live)  # fmt: skip
    assert f"{folder}/street.mp4: is read, and would be replaced" in message
    assert video.read_bytes() == content


def test_a_link_to_a_source_counts(tmp_path):
    video = tmp_path / "street.mp4"
    video.write_bytes(b"x")
    (tmp_path / "out" / "clips").mkdir(parents=True)
    (tmp_path / "out" / "clips" / "a.mp4").symlink_to(video)
    with (
        pytest.raises(UserError, match="is read"),
        claimed_folder(tmp_path / "out", overwrite=True, sources=[video]),
    ):
        pass
    with claimed_folder(tmp_path / "out", overwrite=True, sources=[tmp_path / "other.mp4"]):
        assert video.exists() and not list((tmp_path / "out" / "clips").iterdir())


def test_a_checkpoint_is_not_its_own_export(tmp_path, capsys):
    path = write_checkpoint(tmp_path / "last.pth")
    content = path.read_bytes()
    message = fails(export_onnx.main, capsys, "--model", path, "--output", path)
    assert "is the checkpoint itself" in message and path.read_bytes() == content


def test_features_in_the_folder_that_they_replace(tmp_path, capsys):
    path = tmp_path / "data" / "features" / "training" / "all.npz"
    path.parent.mkdir(parents=True)
    rows = np.zeros((4, 1, 256), np.float32)
    np.savez(path, features=rows, lengths=np.array([4]), names=np.array(["a"]))
    command = ["--name", "x", "--training", path, "--output", tmp_path / "data"]
    assert "holds files already" in fails(import_features.main, capsys, *command)
    assert "lies in" in fails(import_features.main, capsys, *command, "--overwrite")
    assert path.exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"x" * 10**6, None])
def test_finished_videos_of_nobody_knows_whom(tmp_path, content):
    settings = tmp_path / ".finished" / "settings"
    settings.mkdir(parents=True) if content is None else settings.parent.mkdir()
    if content is not None:
        settings.write_bytes(content)
    finished = FinishedVideos(tmp_path, "0123")
    assert not finished.is_this_run()
    finished.begin()
    assert finished.is_this_run()
    shutil.rmtree(settings.parent)
    assert not finished.is_this_run()


def test_labels_are_not_replaced_unasked(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    (data / "labels.npz").write_bytes(b"mine")
    path = tmp_path / "testing.npz"
    rows, labels = np.zeros((4, 1, 256), np.float32), np.zeros(16, np.uint8)
    names = np.array(["a"])
    np.savez(path, features=rows, lengths=np.array([4]), names=names, frame_labels=labels)
    command = ["--name", "x", "--testing", path, "--output", data]
    assert "labels.npz: is there already" in fails(import_features.main, capsys, *command)
    assert (data / "labels.npz").read_bytes() == b"mine" and not (data / "features").exists()
