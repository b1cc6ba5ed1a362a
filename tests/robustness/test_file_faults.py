"""Files removed, damaged or in the way: programs name them and go on once they are mended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import eval as evaluation
import ml_memAE_sc_train
import train
from engine.logger import StageLogger
from pre_process import extract_samples
from tests.helpers.fabricated import (
    MEMAE,
    VUNET,
    write_checkpoint,
    write_scene,
    write_training_cubes,
)
from tests.helpers.tiny_videos import make_dataset
from utils.files import part_folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Cubes of both splits, a trained first stage, a checkpoint to evaluate."""
    root = tmp_path_factory.mktemp("whole")
    write_scene(root / "scene")
    write_training_cubes(root / "scene")
    ml_memAE_sc_train.main(arguments(root))
    write_checkpoint(root / "model" / "last.pth", root / "scene")
    return root


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy of it to break."""
    return shutil.copytree(whole, tmp_path / "copy")


def arguments(root: Path, *more: str) -> list[str]:
    stage = {"num_epochs": 1, "batch_size": 32}
    tree = {
        "data": {"name": "scene", "root": str(root / "scene")},
        "run": {"root": str(root / "runs"), "device": "cpu", "num_threads": 1, "image_every": 0},
        "model": {"memae": MEMAE, "vunet": VUNET},
        "ml_memae_sc": stage,
        "cvae": stage,
    }
    (root / "scene.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return ["--cfg_file", str(root / "scene.yaml"), *more]


def evaluated(root: Path) -> list[str]:
    model = root / "model" / "last.pth"
    return ["--model_save_path", str(model), "--set", f"data.root={root / 'scene'}"]


def fails(capsys, main: Callable, argv: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in told
    return told[told.index("error: ") :]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_the_way(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
    path.write_text("a file where a folder belongs")


FAULTS = [
    (train, Path.unlink, "scene/cubes/training/01/motion.npy", "not readable"),
    (train, cut, "scene/cubes/training/02/appearance.npy", "damaged cubes"),
    (train, cut, "scene/cubes/training/02/manifest.json", "not a JSON file"),
    (train, cut, "runs/scene/ml_memae_sc/last.pth", "truncated or not a checkpoint"),
    (train, Path.unlink, "runs/scene/ml_memae_sc/last.pth", "train that stage first"),
    (train, in_the_way, "runs/scene/cvae", "File exists"),
    (evaluation, cut, "scene/cubes/testing/10/boxes.npy", "damaged cubes"),
    (evaluation, shutil.rmtree, "scene/cubes/testing/10", "run pre_process/extract_samples"),
    (evaluation, cut, "scene/labels.npz", "damaged label file"),
    (evaluation, cut, "scene/dataset.json", "not a JSON file"),
    (evaluation, cut, "model/last.pth", "truncated or not a checkpoint"),
    (evaluation, in_the_way, "model/eval", "File exists"),
]


@pytest.mark.parametrize(("script", "fault", "name", "words"), FAULTS)
def test_a_broken_file_is_named(folder, capsys, script, fault, name, words):
    fault(folder / name)
    argv = arguments(folder) if script is train else evaluated(folder)
    told = fails(capsys, script.main, argv)
    assert words in told and str(folder / name).removesuffix("/motion.npy") in told


def test_a_damaged_checkpoint_of_a_running_stage_is_named_and_can_be_done_again(folder, capsys):
    last = folder / "runs" / "scene" / "ml_memae_sc" / "last.pth"
    cut(last)
    told = fails(capsys, ml_memAE_sc_train.main, arguments(folder))
    assert f"{last}: truncated or not a checkpoint" in told
    ml_memAE_sc_train.main(arguments(folder, "--restart"))
    train.main(arguments(folder))
    assert (folder / "runs" / "scene" / "cvae" / "last.pth").exists()


def test_checksums_tell_which_cubes_changed(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny", {"training": (9, 12), "testing": (10,)})
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({"data": {"name": "tiny", "root": str(dataset.root)},
                        "pre_process": {"boxes": {"min_area": 30}}})
    )  # fmt: skip
    argv = ["--cfg_file", str(tmp_path / "tiny.yaml"), "--workers", "1"]
    extract_samples.main(argv)
    extract_samples.main([*argv, "--verify"])
    assert "3 finished videos match their checksums" in capsys.readouterr().out
    path = dataset.root / "cubes" / "training" / "02" / "appearance.npy"
    content = bytearray(path.read_bytes())
    good = bytes(content)
    content[-100] ^= 1
    path.write_bytes(content)
    told = fails(capsys, extract_samples.main, [*argv, "--verify"])
    assert f"{path}: damaged cubes: its checksum differs" in told and "remove the folder" in told
    shutil.rmtree(path.parent)  # as it says
    extract_samples.main([*argv, "--verify"])
    assert path.read_bytes() == good


def test_a_signal_right_after_a_temporary_folder_is_made_leaves_none(tmp_path, monkeypatch):
    make = Path.mkdir

    def make_then_stop(path: Path, *more: object, **options: object) -> None:
        make(path, *more, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", make_then_stop)
    with pytest.raises(KeyboardInterrupt), part_folder(tmp_path, "01"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_damaged_log_keeps_nobody_from_training(tmp_path):
    good = '{"epoch": 1, "loss": 2.0}\n'
    damage = b"\xff\xfe\n{}\n[1]\n" + b"[" * 100_000 + b'\n{"epoch": "x"}\n' + b"9" * 5000 + b"\n"
    later = b'{"epoch": 2}\n{"epoch": 1'
    (tmp_path / "log.jsonl").write_bytes(good.encode() + damage + later)
    with StageLogger(tmp_path, 3, 1) as log:
        log.epoch_line({"epoch": 2})
    assert (tmp_path / "log.jsonl").read_text() == good + '{"epoch": 2}\n'
