"""Stop training at random steps, resume it, and compare with a run that was not stopped.

python -m tests.robustness.harness.stops --stops 5 --seed 0

Every stage in float32 and bfloat16, on one thread: all that the checkpoint holds (weights, average,
optimizer, random states, bank, statistics) and the epoch log must be equal to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engine.state import TrainingState
from tests.helpers.launched import launch
from tests.robustness.harness.contents import differences
from tests.robustness.harness.forked import run
from tests.robustness.harness.kill import tail
from tests.robustness.harness.scenes import Scene, build

STAGES = ("ml_memae_sc", "cvae", "finetune", "c2fpl", "frd")
PRECISIONS = ("fp32", "bf16")
_STOPPED = 143  # exit code
_MOST_IN_A_ROW = 3


@dataclass
class Runner:
    """Runs a scene, in a fork or under torchrun, and stops it at a step.

    Attributes:
        processes: that train together.
        log: file that takes what they print.
    """

    processes: int
    log: Path

    def __call__(self, scene: Scene, stop_at: int | None = None) -> bool:
        """Whether it ran to its end; else it was stopped as asked, at step ``stop_at``."""
        if self.processes == 1:
            steps = _Watched(scene.main, stop_at)
            code = run(steps, scene.argv, self.log).code
        else:
            code = self._launched(scene, stop_at)
        if code not in (0, _STOPPED) or (stop_at is None and code):
            raise SystemExit(f"exit code {code} (stop at {stop_at})\n{tail(self.log)}")
        return code == 0

    def _launched(self, scene: Scene, stop_at: int | None) -> int:
        call = json.dumps([scene.main.__module__, stop_at, scene.argv])
        process = launch(self.processes, Path(__file__), "--here", call)
        told, _ = process.communicate(timeout=300)
        self.log.write_text(told, encoding="utf-8")
        # torchrun ends with 1, whatever its processes ended with.
        return _STOPPED if "stopped by a signal" in told else process.returncode


@dataclass
class _Watched:
    """A script's ``main`` that gets a signal at a step; threads are counted after every step."""

    main: Callable[..., None]
    stop_at: int | None

    def __call__(self, argv: Sequence[str]) -> None:
        torch.set_num_threads(2)  # what run.num_threads=1 has to change
        finish_step = TrainingState.after_step

        def after_step(state: TrainingState) -> None:
            finish_step(state)
            assert torch.get_num_threads() == 1, f"threads after step {state.step}"
            if state.step == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        TrainingState.after_step = after_step  # type: ignore
        self.main(list(argv))


def compare(scene: Scene, stops: int, chance: random.Random, runner: Runner) -> int:
    """Train ``scene`` whole, then again and again with stops.

    Args:
        stops: how many, over all repetitions.

    Returns:
        The number of values (tensors and others) that were compared each time.

    Raises:
        SystemExit: something differs, or a run failed.
    """
    scene.clear()
    runner(scene)
    expected = scene.content(scene.output)
    length = max(value for key, value in expected.items() if key.endswith("last.pth/step"))
    while stops > 0:
        scene.clear()
        number = min(stops, chance.randint(1, _MOST_IN_A_ROW), length)
        steps = sorted(chance.sample(range(1, length + 1), number))
        for step in steps:
            if runner(scene, step):
                raise SystemExit(f"did not stop at step {step}")
        runner(scene)
        stops -= number
        if differing := differences(scene.content(scene.output), expected):
            raise SystemExit(f"stopped at {steps}, {len(differing)} differ: {differing[:8]}")
    return len(expected)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare all stages in all precisions and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stops", type=int, default=5, help="of each stage and precision")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=list(PRECISIONS))
    options = parser.parse_args(argv)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        scenes = build(Path(folder), lambda script, given: run(script, given, log), options.stages)
        runner, chance = Runner(options.processes, log), random.Random(options.seed)
        for name, scene in scenes.items():
            for precision in options.precisions:
                settings = ("--set", "run.num_threads=1", f"run.precision={precision}")
                own = replace(scene, argv=(*scene.argv, *settings))
                values = compare(own, options.stops, chance, runner)
                print(f"{name}, {precision}: {options.stops} stops, {values} values equal",
                      flush=True)  # fmt: skip
    print(f"seed {options.seed}, {options.processes} process(es), "
          f"{time.monotonic() - begun:.0f} s: nothing differs")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        module, stop, arguments = json.loads(sys.argv[2])
        __import__(module)
        _Watched(sys.modules[module].main, stop)(arguments)
    else:
        main()
