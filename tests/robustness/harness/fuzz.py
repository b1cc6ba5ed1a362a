"""Feed damaged and hostile files to every reader: only a clear error may come of them.

python -m tests.robustness.harness.fuzz --cases 10000 --seed 0

Checkpoints go through whole programs, too: ``infer.py``, a training that resumes from one, and one
that starts from the stage before.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import hypothesis
import torch

from tests.robustness.harness.damage import Damage, of_bytes
from tests.robustness.harness.fuzz_programs import programs
from tests.robustness.harness.fuzz_readers import CANARY, UNPACKED, Reader, readers
from utils.errors import UserError


def _hangs(*_: object) -> None:
    raise TimeoutError("it takes too long")


def fuzz(
    folder: Path, cases: int, seed: int, only: Sequence[str] = (), without_programs: bool = False
) -> Counter[str]:
    """Run at least so many cases, shared out over the readers; count those read and refused.

    Args:
        folder: empty; nothing but its ``work`` may be written to.
        only: starts of the names of readers; empty: all.
        without_programs: leave those out that run whole programs.

    Raises:
        AssertionError: another error than ``UserError``, a hang, code that was run, or a file
            outside of where files belong; the edits are the shortest that Hypothesis found.
    """
    counts: Counter[str] = Counter()
    work = folder / "work"
    work.mkdir()
    signal.signal(signal.SIGALRM, _hangs)
    chosen = [each for each in readers(work) if not only or each.name.startswith(tuple(only))]
    chosen += [] if without_programs else programs(work, only)
    whole = sum(each.share for each in chosen)
    for reader in chosen:
        _good(reader, work)
        outcomes = _fuzz_one(reader, work, math.ceil(cases * reader.share / whole), seed)
        for outcome, count in sorted(outcomes.items()):
            print(f"{count:6d}  {reader.label or reader.name}: {outcome}", flush=True)
        counts += outcomes
    return counts


def _good(reader: Reader, work: Path) -> None:
    """What is damaged must have been whole; a file that attacks has to be refused as it is."""
    outcome = _outcome(reader, reader.good, work)
    expected = "refused" if reader.name.startswith("evil") else "read"
    assert outcome == expected, f"{reader.name}: {outcome} as it is"


def _fuzz_one(reader: Reader, work: Path, cases: int, seed: int) -> Counter[str]:
    counts: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases, deadline=None, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(of_bytes() if reader.damages is None else reader.damages)
    def check(damage: Damage) -> None:
        counts[_outcome(reader, damage(reader.good), work)] += 1

    check()
    return counts


def _outcome(reader: Reader, data: bytes, work: Path) -> str:
    path = work / reader.name
    path.write_bytes(data)
    signal.alarm(reader.longest)
    try:
        reader.read(path)
        outcome = "read"
    except UserError:
        outcome = "refused"
    except Exception as error:
        raise AssertionError(f"{reader.name}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
    assert not (work / CANARY).exists(), f"{reader.name} ran a command"
    outside = [each.name for each in work.parent.iterdir() if each != work]
    outside += [each.name for each in work.glob("escaped*")]
    outside += [each.name for each in work.glob(f"{UNPACKED}/[!.]*") if not _is_own(each, reader)]
    assert not outside, f"{reader.name} wrote outside: {outside}"
    shutil.rmtree(work / UNPACKED, ignore_errors=True)
    return outcome


def _is_own(folder: Path, reader: Reader) -> bool:
    """Whether a folder is where the reader's archive belongs."""
    return folder.name.startswith(f"{reader.name.partition('.')[0]}-")


def main() -> None:
    """Run and tell what became of the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="in all, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="starts of names; default: all")
    parser.add_argument("--without_programs", action="store_true", help="they take most time")
    options, begun = parser.parse_args(), time.monotonic()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        chosen = options.only, options.without_programs
        counts = fuzz(Path(scratch), options.cases, options.seed, *chosen)
    total, seconds = sum(counts.values()), time.monotonic() - begun
    print(f"{total} cases, seed {options.seed}, {seconds:.0f} s: "
          "no other error, no hang, no code run, nothing outside")  # fmt: skip


if __name__ == "__main__":
    main()
