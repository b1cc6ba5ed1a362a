"""Damaged checkpoints through whole programs: scoring, resuming, the stage that builds on one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import infer
from engine.state import TrainingState
from tests.helpers.tiny_checkpoint import write_checkpoint
from tests.helpers.tiny_videos import make_dataset
from tests.robustness.harness.damage import of_bytes, of_pickles, of_values
from tests.robustness.harness.forked import run
from tests.robustness.harness.fuzz_readers import Reader
from tests.robustness.harness.kill import tail
from tests.robustness.harness.scenes import Scene, build
from utils.errors import UserError

_STOPPED = 143  # exit code
_SHARE = 0.05  # of each kind of damage to each program's checkpoint
_DAMAGES = {"bytes": of_bytes, "pickle": of_pickles, "values": of_values}


@dataclass
class Program:
    """A program that reads a checkpoint, in a fork, so that a crash is an outcome.

    Attributes:
        scene: what is run; its output is removed before each run.
        checkpoint: where it looks for the checkpoint.
        log: file that takes what it prints.
        is_training: ends at its first step behind the checkpoint, which is enough.
    """

    scene: Scene
    checkpoint: Path
    log: Path
    is_training: bool = True

    def __call__(self, path: Path) -> None:
        """Run it with the checkpoint at ``path``.

        Raises:
            UserError: that is how it ended, with the checkpoint's name.
            RuntimeError: it ended otherwise, or named no file.
        """
        self.scene.clear()
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.checkpoint)
        self.log.unlink(missing_ok=True)
        main = _OneStep(self.scene.main) if self.is_training else self.scene.main
        code = run(main, self.scene.argv, self.log).code
        said = tail(self.log)
        if code == 2 and "Traceback" not in said and str(self.checkpoint) in said:
            raise UserError(said.splitlines()[-1])
        if code not in (0, _STOPPED) or "Traceback" in said:
            raise RuntimeError(f"exit code {code}\n{said}")


@dataclass
class _OneStep:
    """A script's ``main`` that is stopped after one step."""

    main: Callable[..., None]
    stop_at: int | None = None

    def __call__(self, argv: Sequence[str]) -> None:
        finish_step = TrainingState.after_step

        def after_step(state: TrainingState) -> None:
            finish_step(state)
            if self.stop_at in (None, state.step):
                os.kill(os.getpid(), signal.SIGTERM)

        TrainingState.after_step = after_step  # type: ignore
        self.main(list(argv))


def programs(folder: Path, only: Sequence[str]) -> list[Reader]:
    """The programs whose names start with one of ``only`` (empty: all), with each kind of damage.

    Args:
        folder: exists; gets the programs' data.
    """
    makers = {"infer.py": _inference, "resume ml_memae_sc": _resumed, "resume frd": _resumed,
              "cvae on ml_memae_sc": _next_stage}  # fmt: skip
    found: list[Reader] = []
    for name, make in makers.items():
        if only and not name.startswith(tuple(only)):
            continue
        at = folder / name.replace(" ", "_")
        at.mkdir()
        program, good = make(at, name)
        for what, damages in _DAMAGES.items():
            strategy = damages(good) if damages is of_values else damages()
            found.append(
                Reader("last.pth", good, program, _SHARE, 120, strategy, f"{name}, {what}")
            )
    return found


def _inference(root: Path, _: str) -> tuple[Program, bytes]:
    data = make_dataset(root / "videos", {"testing": (8,)}).root
    model, output = root / "model" / "last.pth", root / "out"
    good = write_checkpoint(root / "good.pth").read_bytes()
    argv = ("--model", str(model), "--source", str(data / "testing" / "frames"),
            "--output", str(output), "--threshold", "0")  # fmt: skip
    scene = Scene(infer.main, argv, output, lambda _: {})
    return Program(scene, model, root / "log", is_training=False), good


def _resumed(root: Path, name: str) -> tuple[Program, bytes]:
    """A training stopped in the middle of its second epoch."""
    stage, log = name.removeprefix("resume "), root / "log"
    scene = build(root, lambda script, argv: run(script, argv, log), [stage])[stage]
    scene.clear()
    run(_OneStep(scene.main, stop_at=4), scene.argv, log)
    (last,) = scene.output.rglob("last.pth")
    return Program(scene, last, log), last.read_bytes()


def _next_stage(root: Path, _: str) -> tuple[Program, bytes]:
    """Stage 2, which takes the network of a finished stage 1."""
    log = root / "log"
    scene = build(root, lambda script, argv: run(script, argv, log), ["cvae"])["cvae"]
    last = scene.output.parent / "ml_memae_sc" / "last.pth"
    return Program(scene, last, log), last.read_bytes()
