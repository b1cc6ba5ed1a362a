"""Let writes of every program fail, as on a full disk: a clear error, and all is well once mended.

python -m tests.robustness.harness.full_disk --trials 5 --seed 0

A limit on the length of files stands in for the full disk: it needs no file system of its own, and
lets any write of any file fail.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from tests.robustness.harness.forked import run
from tests.robustness.harness.kill import Trial, tail
from tests.robustness.harness.scenes import build


class FullDisk(Trial):
    """A scene whose writes fail."""

    def fill(self, chance: random.Random) -> bool:
        """One run on a full disk, one on an empty one.

        Returns:
            Whether the first run met a failing write.
        """
        self.scene.clear()
        self.log.unlink(missing_ok=True)
        place = self.in_a_write(chance)
        limit = replace(place, at_byte=None, full_at_byte=place.at_byte, name="")
        outcome = run(self.scene.main, self.scene.argv, self.log, limit)
        said = tail(self.log)
        last = said.splitlines()[-1] if said else ""
        if outcome.code not in (0, 2) or "Traceback" in said:
            raise SystemExit(f"{self.name}: exit code {outcome.code} ({limit})\n{said}")
        if outcome.code == 2 and not re.match(r"error: (.*: )?\S*/\S+: ", last):
            raise SystemExit(f"{self.name}: no error was told, or of no file ({limit})\n{said}")
        self.attempt(None)
        self.compare([str(limit)])
        if outcome.code == 2:
            self.kinds[last] += 1
        return outcome.code == 2


def main(argv: Sequence[str] | None = None) -> None:
    """Try every program and tell what it said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5, help="of each program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", nargs="*", default=[], help="default: all")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root, chance = Path(folder), random.Random(options.seed)
        log = root / "log"
        scenes = build(root, lambda script, given: run(script, given, log), options.scenes)
        for name, scene in scenes.items():
            trial = FullDisk(name, scene, log)
            met = sum(trial.fill(chance) for _ in range(options.trials))
            print(f"{name}: {met} of {options.trials} runs met a full disk; equal when run again")
            for told in sorted(trial.kinds):
                print(f"  {told.replace(str(root), '...')}")


if __name__ == "__main__":
    sys.exit(main())
