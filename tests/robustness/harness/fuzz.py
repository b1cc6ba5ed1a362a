"""Feed damaged and hostile files to every reader: only a clear error may come of them.

python -m tests.robustness.harness.fuzz --cases 10000 --seed 0
"""

from __future__ import annotations

import argparse
import math
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import hypothesis
from hypothesis import strategies as st

from tests.robustness.harness.fuzz_readers import CANARY, Reader, readers
from utils.errors import UserError

_HEADER = 512  # bytes from either end that half of the edits fall into
_NASTY = (b"", b"\0", b"\xff" * 8, b"-1", b"nan", b"1e999", b"99999999999999999999", b"../",
          b"null", b"[", b"{", b"'", b"\n", b": ",
          b"!!python/object/apply:os.system ['x']")  # fmt: skip


class Edit(NamedTuple):
    """One change of a file's bytes.

    Attributes:
        kind: ``change`` a byte, ``insert`` bytes, ``remove``, ``double``, ``cut`` off the end.
        at: place, taken modulo the length; negative ones count from the end.
        value: of the changed byte; how many bytes are removed.
        nasty: what is inserted.
    """

    kind: str
    at: int
    value: int
    nasty: bytes

    def apply(self, data: bytearray) -> None:
        """Change ``data`` in place."""
        at = self.at % (len(data) + 1)
        if self.kind == "change" and data:
            data[at % len(data)] = self.value
        elif self.kind == "insert":
            data[at:at] = self.nasty
        elif self.kind == "remove":
            del data[at : at + self.value]
        elif self.kind == "double":
            data[at:at] = data[at : at + 32]
        elif self.kind == "cut":
            del data[at:]


def edits() -> st.SearchStrategy[list[Edit]]:
    """A few edits, most often one, half of them near the ends, where headers and tables are."""
    kinds = ("change",) * 6 + ("insert",) * 3 + ("remove",) * 3 + ("double",) * 3 + ("cut",)
    place = st.integers(-_HEADER, _HEADER) | st.integers(0, 2**24)
    edit = st.builds(
        Edit, st.sampled_from(kinds), place, st.integers(0, 255), st.sampled_from(_NASTY)
    )
    few, some, many = (st.lists(edit, min_size=1, max_size=most) for most in (1, 2, 12))
    return few | few | some | many


def damaged(good: bytes, changes: list[Edit]) -> bytes:
    """The edited bytes."""
    data = bytearray(good)
    for change in changes:
        change.apply(data)
    return bytes(data)


def _hangs(*_: object) -> None:
    raise TimeoutError("it takes too long")


def fuzz(folder: Path, cases: int, seed: int) -> Counter[str]:
    """Run at least so many cases, shared out over the readers; how many were read and refused.

    Raises:
        AssertionError: another error than ``UserError``, a hang, code that was run, or a file
            outside of where files belong; the edits are the shortest that Hypothesis found.
    """
    counts: Counter[str] = Counter()
    work = folder / "work"
    signal.signal(signal.SIGALRM, _hangs)
    chosen = readers(work)
    whole = sum(each.share for each in chosen)
    for reader in chosen:
        _good(reader, work)
        share = math.ceil(cases * reader.share / whole)
        _fuzz_one(reader, work, share, seed, counts)
    return counts


def _good(reader: Reader, work: Path) -> None:
    """What is damaged must have been whole, but for files that attack."""
    path = work / reader.name
    path.write_bytes(reader.good)
    hostile = reader.name.startswith(("evil", "a.zip", "a.tar"))
    try:
        reader.read(path)
    except UserError as error:
        assert hostile, f"{reader.name}: {error}"


def _fuzz_one(reader: Reader, work: Path, cases: int, seed: int, counts: Counter[str]) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases, deadline=None, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(edits())
    def check(changes: list[Edit]) -> None:
        counts[f"{reader.name}: {_outcome(reader, damaged(reader.good, changes), work)}"] += 1

    check()


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
    assert [each.name for each in work.parent.iterdir()] == ["work"], f"{path} wrote outside"
    assert not (work / "escaped").exists(), f"{reader.name} wrote outside"
    return outcome


def main() -> None:
    """Run and tell what became of the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="in all, at least")
    parser.add_argument("--seed", type=int, default=0)
    options, begun = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "work").mkdir()
        counts = fuzz(Path(scratch), options.cases, options.seed)
    for name, count in sorted(counts.items()):
        print(f"{count:6d}  {name}")
    total, seconds = sum(counts.values()), time.monotonic() - begun
    print(f"{total} cases, seed {options.seed}, {seconds:.0f} s: "
          "no other error, no hang, no code run, nothing outside")  # fmt: skip


if __name__ == "__main__":
    main()
