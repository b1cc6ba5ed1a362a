"""What is killed: each program on tiny data, what it leaves, and what must be equal in the end."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import eval as evaluation
import finetune
import frd_train
import infer
import ml_memAE_sc_train
import train
from datasets.toy.features import ToySettings, write_toy_features
from pre_process import extract_samples, make_pseudo_labels, prepare_dataset
from tests.helpers.fabricated import (
    MEMAE,
    VUNET,
    write_checkpoint,
    write_scene,
    write_training_cubes,
)
from tests.helpers.layout_miniatures import ucsd
from tests.helpers.tiny_checkpoint import write_checkpoint as write_watcher
from tests.helpers.tiny_videos import make_dataset
from tests.robustness.harness.contents import results, whole_checkpoints, whole_files

STAGES = {"ml_memae_sc": ml_memAE_sc_train, "cvae": train, "finetune": finetune}


@dataclass(frozen=True)
class Scene:
    """One program.

    Attributes:
        main, argv: what is run, and run again after a kill.
        output: folder that it writes, removed before each trial.
        content: everything in ``output`` that must not depend on kills, by name.
    """

    main: Callable[..., None]
    argv: tuple[str, ...]
    output: Path
    content: Callable[[Path], dict[str, Any]]

    def clear(self) -> None:
        """As before the first run."""
        shutil.rmtree(self.output, ignore_errors=True)


def preparation(root: Path) -> Scene:
    """A data set and its labels from an archive."""
    source = ucsd(root / "in", "UCSDped2", 2, [[0, 1, 1], [1, 0, 0]])
    archive = root / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.*")):
            file.write(path, path.relative_to(source))
    output = root / "data" / "set"
    argv = ("--name", "set", "--source", str(archive), "--output", str(output))
    return Scene(prepare_dataset.main, argv, output, whole_files)


def extraction(root: Path) -> Scene:
    """Boxes, flow and cubes of three videos."""
    lengths = {"training": (9, 12, 7), "testing": (10,)}
    data = make_dataset(root / "videos", lengths).root
    cfg = _write(root / "extract.yaml", {"data": {"name": "tiny", "root": str(data)}})
    settings = ("--set", "pre_process.flow.preset=ultrafast", "pre_process.boxes.min_area=30")
    argv = ("--cfg_file", cfg, "--workers", "1", *settings)
    return Scene(extract_samples.main, argv, data / "cubes", whole_files)


def training(root: Path, stage: str, prepare: Callable[..., Any]) -> Scene:
    """One of HF2-VAD's stages; those before it are trained here."""
    cfg = _training_config(root)
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        prepare(STAGES[earlier].main, ("--cfg_file", cfg))
    argv = ("--cfg_file", cfg)
    return Scene(STAGES[stage].main, argv, root / "runs" / "scene" / stage, whole_checkpoints)


def frd_training(root: Path) -> Scene:
    """FRD-UVAD with a bank of anomalies, which a stop must not lose."""
    argv = ("--cfg_file", _frd_config(root))
    return Scene(frd_train.main, argv, root / "frd_runs", whole_checkpoints)


def scorer_training(root: Path, prepare: Callable[..., Any]) -> Scene:
    """C2FPL's scorer on its pseudo labels."""
    cfg = _frd_config(root)
    prepare(make_pseudo_labels.main, ("--cfg_file", cfg))
    argv = ("--cfg_file", cfg, "--stage", "c2fpl")
    return Scene(frd_train.main, argv, root / "frd_runs", whole_checkpoints)


def evaluating(root: Path) -> Scene:
    """``eval.py`` on three videos."""
    data, output = root / "scored", root / "eval"
    write_scene(data)
    write_checkpoint(root / "model" / "last.pth", data)
    argv = ("--model_save_path", str(root / "model" / "last.pth"), "--output", str(output),
            "--set", f"data.root={data}")  # fmt: skip
    return Scene(evaluation.main, argv, output, results)


def inference(root: Path) -> Scene:
    """``infer.py`` on two videos."""
    data = make_dataset(root / "watched", {"training": (9,), "testing": (16, 12)}).root
    model = write_watcher(root / "watcher" / "last.pth", data={"root": str(data)})
    output = root / "infer"
    argv = ("--model", str(model), "--source", str(data / "testing" / "frames"),
            "--output", str(output), "--threshold", "0", "--overwrite")  # fmt: skip
    return Scene(infer.main, argv, output, results)


def build(root: Path, prepare: Callable[..., Any], names: Sequence[str]) -> dict[str, Scene]:
    """The scenes of the given names; ``prepare(main, argv)`` runs what has to be there before."""
    makers: dict[str, Callable[[Path], Scene]] = {
        "preparation": preparation,
        "extraction": extraction,
        **{stage: lambda at, stage=stage: training(at, stage, prepare) for stage in STAGES},
        "c2fpl": lambda at: scorer_training(at, prepare),
        "frd": frd_training,
        "evaluation": evaluating,
        "inference": inference,
    }
    return {name: makers[name](root / name) for name in names or makers}


def _training_config(root: Path) -> str:
    data = root / "scene"
    write_scene(data)
    write_training_cubes(data)
    stage = {"num_epochs": 3, "batch_size": 8, "lr": 1e-3, "save_every_steps": 2, "keep_every": 2}
    tree = {
        "data": {"name": "scene", "root": str(data)},
        "run": {"root": str(root / "runs"), "device": "cpu", "num_threads": 1},
        "model": {"memae": MEMAE, "vunet": VUNET},
        **{name: dict(stage, ema_decay=0.9) for name in STAGES},
        "eval": {"batch_size": 16, "median": 5},
    }
    return _write(root / "stages.yaml", tree)


def _frd_config(root: Path) -> str:
    write_toy_features(root / "features", settings=ToySettings(num_videos=6, snippets=(8, 14)))
    tree = {
        "system": "frd",
        "data": {"name": "toy", "root": str(root / "features")},
        "run": {"device": "cpu", "root": str(root / "frd_runs"), "log_every": 1},
        "model": {"feature_size": 256, "num_blocks": 1},
        "c2fpl": {"num_epochs": 3, "batch_size": 16, "save_every_steps": 2},
        "frd": {"num_epochs": 3, "batch_size": 16, "save_every_steps": 2,
                "bank": {"enabled": True, "beta": 0.5, "delta": -9}},
    }  # fmt: skip
    return _write(root / "frd.yaml", tree)


def _write(path: Path, tree: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return str(path)
