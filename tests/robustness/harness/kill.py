"""Kill every program at random moments, run it again, and compare with a run that was not killed.

python -m tests.robustness.harness.kill --kills 100 --seed 0
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from tests.robustness.harness.forked import Kill, Outcome, run
from tests.robustness.harness.scenes import Scene, build

_MOST_IN_A_ROW = 4  # kills before a run is left alone


class Trial:
    """A scene, what it leaves when nobody kills it, and the count of kills it got through."""

    def __init__(self, name: str, scene: Scene, log: Path) -> None:
        self.name, self.scene, self.log = name, scene, log
        scene.clear()
        self.whole = self.attempt(None)
        self.expected = scene.content(scene.output)
        sizes = [path.stat().st_size for path in scene.output.rglob("*") if path.is_file()]
        self.largest = max(sizes)
        self.kinds: Counter[str] = Counter()
        self.comparisons = 0

    def attempt(self, kill: Kill | None) -> Outcome:
        """One run; it has to end well or be killed."""
        outcome = run(self.scene.main, self.scene.argv, self.log, kill)
        if outcome.code not in (0, -9, -25) or (kill is None and outcome.code):
            raise SystemExit(f"{self.name}: exit code {outcome.code} ({kill})\n{tail(self.log)}")
        return outcome

    def chain(self, kills: int, chance: random.Random) -> int:
        """Kill up to ``kills`` runs one after the other, let the last one finish, compare.

        Returns:
            How many were killed.
        """
        self.scene.clear()
        done: list[str] = []
        for _ in range(min(kills, _MOST_IN_A_ROW)):
            kind, kill = self.draw(chance)
            if self.attempt(kill).code == 0:
                break
            done.append(f"{kind}: {kill}")
            self.kinds[kind] += 1
        self.attempt(None)
        self.compare(done)
        return len(done)

    def draw(self, chance: random.Random) -> tuple[str, Kill]:
        """A moment, the change of a file, or a byte of one; all drawn from the unkilled run."""
        kind = chance.choice(("moment", "file", "file, a little later", "write"))
        operation = chance.randint(1, self.whole.operations)
        return kind, {
            "moment": Kill(after_seconds=chance.uniform(0.0, self.whole.seconds)),
            "file": Kill(at_operation=operation),
            "file, a little later": Kill(at_operation=operation, delay=chance.uniform(0, 0.01)),
            "write": Kill(at_byte=chance.randrange(64, self.largest)),
        }[kind]

    def compare(self, done: Sequence[str]) -> None:
        """Everything has to be as in the run that was not killed."""
        self.comparisons += 1
        found = self.scene.content(self.scene.output)
        differing = differences(found, self.expected)
        if differing:
            story = "\n  ".join(done)
            first = differing[0]
            raise SystemExit(
                f"{self.name}: {differing[:8]} differ after\n  {story}\n{first}: "
                f"{str(found.get(first))[:600]}\ninstead of {str(self.expected.get(first))[:600]}"
            )


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what only one of both has, or what differs."""
    none = object()
    names = sorted(found.keys() | expected.keys())
    return [key for key in names if found.get(key, none) != expected.get(key, none)]


def tail(log: Path, lines: int = 25) -> str:
    """The end of what the runs printed."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def main(argv: Sequence[str] | None = None) -> None:
    """Share the kills out over the scenes and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="*", default=[], help="default: all")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root, begun = Path(folder), time.monotonic()
        log = root / "log"
        scenes = build(root, lambda script, given: run(script, given, log), options.scenes)
        trials = [Trial(name, scene, log) for name, scene in scenes.items()]
        chance, left, turn = random.Random(options.seed), options.kills, 0
        while left:
            left -= trials[turn % len(trials)].chain(left, chance)
            turn += 1
        for trial in trials:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(trial.kinds.items()))
            print(f"{trial.name}: {sum(trial.kinds.values())} kills ({kinds}), "
                  f"{trial.comparisons} comparisons, all equal")  # fmt: skip
        print(f"{options.kills} kills, seed {options.seed}, {time.monotonic() - begun:.0f} s: "
              "nothing lost")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
