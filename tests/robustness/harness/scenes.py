"""What is killed: each program on tiny data, what it leaves, and what must be equal in the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import eval as evaluation
import finetune
import frd_train
import infer
import ml_memAE_sc_train
import train
from datasets.toy.features import ToySettings, write_toy_features
from pre_process import extract_samples, make_pseudo_labels
from tests.helpers.fabricated import (
    MEMAE,
    VUNET,
    write_checkpoint,
    write_scene,
    write_training_cubes,
)
from tests.helpers.tiny_checkpoint import write_checkpoint as write_watcher
from tests.helpers.tiny_videos import make_dataset

STAGES = {"ml_memae_sc": ml_memAE_sc_train, "cvae": train, "finetune": finetune}
TABLES = ("frame_scores.csv", "cube_scores.csv", "alarms.json")


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
    return Scene(evaluation.main, argv, output, score_tables)


def inference(root: Path) -> Scene:
    """``infer.py`` on two videos."""
    data = make_dataset(root / "watched", {"training": (9,), "testing": (16, 12)}).root
    model = write_watcher(root / "watcher" / "last.pth", data={"root": str(data)})
    output = root / "infer"
    argv = ("--model", str(model), "--source", str(data / "testing" / "frames"),
            "--output", str(output), "--threshold", "0", "--overwrite")  # fmt: skip
    return Scene(infer.main, argv, output, score_tables)


def build(root: Path, prepare: Callable[..., Any], names: Sequence[str]) -> dict[str, Scene]:
    """The scenes of the given names; ``prepare(main, argv)`` runs what has to be there before."""
    makers: dict[str, Callable[[Path], Scene]] = {
        "extraction": extraction,
        **{stage: lambda at, stage=stage: training(at, stage, prepare) for stage in STAGES},
        "c2fpl": lambda at: scorer_training(at, prepare),
        "frd": frd_training,
        "evaluation": evaluating,
        "inference": inference,
    }
    return {name: makers[name](root / name) for name in names or makers}


def whole_files(folder: Path) -> dict[str, Any]:
    """Every file's bytes; nothing half-written may be among them.

    The claim of a killed worker may stay: it says nothing once its video is finished.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def whole_checkpoints(folder: Path) -> dict[str, Any]:
    """All that checkpoints hold, to the last bit, and the log without its clock.

    The revision of the code is left out: a commit may come between two runs.
    """
    found = {path.name: path.exists() for path in folder.rglob(".*.part*")}
    for path in sorted(folder.rglob("*.pth")):
        for key, value in _leaves(torch.load(path, weights_only=True), path.name):
            if not key.endswith("git_revision"):
                found[key] = value.numpy().tobytes() if isinstance(value, torch.Tensor) else value
    for path in folder.rglob("log.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found["log.jsonl"] = [{**line, "seconds": 0} for line in lines]
    return found


def score_tables(folder: Path) -> dict[str, Any]:
    """The bytes of scores and alarms, and the names of everything else."""
    names = {path.name: None for path in folder.rglob("*") if path.name != ".lock"}
    return names | {
        name: (folder / name).read_bytes() for name in TABLES if (folder / name).exists()
    }


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, (dict, list, tuple)):
        yield name, tree
        return
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield from _leaves(value, f"{name}/{key}")


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
