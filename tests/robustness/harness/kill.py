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

import cv2
import openvino  # noqa: F401 - here once, not in every fork
import torch

from tests.robustness.harness.changes import (
    Kill,
    Written,
    half_written,
    kind,
    load,
    times,
    written,
)
from tests.robustness.harness.contents import differences
from tests.robustness.harness.forked import Outcome, run
from tests.robustness.harness.scenes import Scene, build

_MOST_IN_A_ROW = 4  # kills before a run is left alone
_TRIAL = 0.25  # of a success: so much more often is tried what was never hit
_ALONE = 0.5  # of the kills in a write
_SHORTEST = 64  # bytes; the system's semaphores are files of 32, and no file of a program's


class Trial:
    """A scene, what it leaves when nobody kills it, and the count of kills it got through.

    Attributes:
        kinds: kills of each kind.
        cut: kills that left a file half-written, by the kind of file.
        comparisons: runs to the end that were compared with the unkilled one.
    """

    def __init__(self, name: str, scene: Scene, log: Path) -> None:
        self.name, self.scene, self.log = name, scene, log
        scene.clear()
        record = log.with_name("changes.json")
        self.whole = self.attempt(None, record)
        self.expected = scene.content(scene.output)
        changes, ends = load(record)
        self.operations = len(changes)
        self.writes: dict[str, list[Written]] = {}
        for each in written(changes, ends, scene.output):
            if each.size > _SHORTEST:
                self.writes.setdefault(kind(each.name), []).append(each)
        self.whole_sizes = {
            name: {each.size for each in files} for name, files in self.writes.items()
        }
        self._tried: Counter[str] = Counter()  # kills meant for each kind of file
        self.kinds: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.comparisons = 0

    def attempt(self, kill: Kill | None, record: Path | None = None) -> Outcome:
        """One run; it has to end well or be killed."""
        outcome = run(self.scene.main, self.scene.argv, self.log, kill, record)
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
            when, kill = self.draw(chance)
            before = times(self.scene.output)
            code = self.attempt(kill).code
            if code == 0:
                break
            done.append(f"{when}: {kill}")
            self.kinds[when] += 1
            length = kill.at_byte if code == -25 or kill.name else None
            self.cut.update(half_written(self.scene.output, self.whole_sizes, length, before))
        self.attempt(None)
        self.compare(done)
        return len(done)

    def draw(self, chance: random.Random) -> tuple[str, Kill]:
        """A time, the change of a file, or a byte of one; most of them are bytes."""
        when = chance.choice(("moment", "file", "file, a little later", *("write",) * 5))
        operation = chance.randint(1, self.operations)
        if when == "write":
            return when, self.in_a_write(chance)
        return when, {
            "moment": Kill(after_seconds=chance.uniform(0.0, self.whole.seconds)),
            "file": Kill(at_operation=operation),
            "file, a little later": Kill(at_operation=operation, delay=chance.uniform(0, 0.01)),
        }[when]

    def in_a_write(self, chance: random.Random) -> Kill:
        """A random byte of a kind of file that was left half-written, or tried, the least often.

        Either this file alone, where Python writes it, or whichever grows so long at that time.
        """
        names = chance.sample(sorted(self.writes), len(self.writes))
        name = min(names, key=lambda each: self.cut[each] + _TRIAL * self._tried[each])
        self._tried[name] += 1
        file = chance.choice(self.writes[name])
        length = chance.randrange(_SHORTEST, file.size)
        if chance.random() < _ALONE:
            return Kill(at_byte=length, name=name)
        since = chance.choice((min(file.after_another, file.before_it), file.before_it))
        return Kill(at_byte=length, from_operation=since)

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

    def summary(self) -> str:
        """A line of what was killed, and one of the files that were left half-written."""
        kinds = ", ".join(f"{count} {when}" for when, count in sorted(self.kinds.items()))
        cut = ", ".join(f"{name} {self.cut[name]}" for name in sorted(self.writes))
        return (
            f"{self.name}: {sum(self.kinds.values())} kills ({kinds}), {self.comparisons} "
            f"comparisons, all equal\n  left half-written: {cut}"
        )


def tail(log: Path, lines: int = 25) -> str:
    """The end of what the runs printed."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def main(argv: Sequence[str] | None = None) -> None:
    """Share the kills out over the scenes and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1440.0, help="end then, however many")
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
        while left and time.monotonic() - begun < 60 * options.minutes:
            trial, turn = trials[turn % len(trials)], turn + 1
            killed = trial.chain(left, chance)
            left -= killed
            print(f"{trial.name}: killed {killed} times, then run to its end: equal", flush=True)
        print("\n".join(trial.summary() for trial in trials))
        done, seconds = options.kills - left, time.monotonic() - begun
        print(f"{done} kills, seed {options.seed}, {seconds:.0f} s: nothing lost")


if __name__ == "__main__":
    sys.exit(main())
