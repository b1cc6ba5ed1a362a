"""The changes of files that a program makes, counted in it, and where in them it can be stopped."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from utils.files import HALF_WRITTEN

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
_RESULTS = "results"  # name of the folder from which results are moved
_EVENTS = re.compile(r"^(events\.out\.tfevents).*")  # TensorBoard's, with the time and the machine


@dataclass(frozen=True)
class Kill:
    """When to kill a run, or to fill its disk; one of the first four is set.

    Attributes:
        after_seconds: SIGKILL from outside, this long after the start.
        at_operation: SIGKILL at the n-th change of a file (opened for writing, renamed, removed).
        at_byte: the system ends the process in the middle of the write that makes a file longer.
        name: kind of file that alone is meant by ``at_byte``; empty: any.
        full_at_byte: no kill: writes that make a file longer fail, as those on a full disk do.
        delay: seconds from the operation to the kill.
        from_operation: change of a file from which on a length counts; 0: from the start.
    """

    after_seconds: float | None = None
    at_operation: int | None = None
    at_byte: int | None = None
    full_at_byte: int | None = None
    name: str = ""
    delay: float = 0.0
    from_operation: int = 0


class Change(NamedTuple):
    """A change of a file: the event's name, the path, and of a rename target and length(s).

    ``sizes`` are those of the file, under ``""``, or of the files in a folder, by name.
    """

    event: str
    path: str
    target: str = ""
    sizes: dict[str, int] = {}  # noqa: RUF012 - never changed


class Written(NamedTuple):
    """A file that was written: its final name, length, and the changes just before it.

    ``after_another``: the last time that another file was finished; ``before_it``: the change that
    comes before its own first one.
    """

    name: str
    size: int
    after_another: int
    before_it: int


class Recorder:
    """Counts changes of files in this process, by an audit hook, and stops it as asked."""

    def __init__(self, kill: Kill | None) -> None:
        self.changes: list[Change] = []
        self._kill = kill
        if kill is not None and not kill.from_operation:
            self._limit()
        sys.addaudithook(self._watch)

    def save(self, path: Path) -> None:
        """Write all changes, and the lengths that opened files have now."""
        opened = {each.path for each in self.changes if each.event == "open"}
        ends = {name: Path(name).stat().st_size for name in opened if Path(name).is_file()}
        path.write_text(json.dumps([self.changes, ends]), encoding="utf-8")

    def _watch(self, event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if not (writes or event in _CHANGES) or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.path.abspath(arguments[0])  # noqa: PTH100 - in a hook, as little as can be
        if event == "os.rename":
            target = os.path.abspath(arguments[1])  # noqa: PTH100
            self.changes.append(Change(event, path, target, _sizes(Path(path))))
        else:
            self.changes.append(Change(event, path))
        number = len(self.changes)
        if self._kill is not None and number == self._kill.from_operation:
            self._limit()
        if self._kill is not None and number == self._kill.at_operation:
            _kill_soon(self._kill.delay)

    def _limit(self) -> None:
        kill = self._kill
        length = kill and (kill.at_byte if kill.at_byte is not None else kill.full_at_byte)
        if kill is None or length is None or kill.name:
            return
        if kill.at_byte is not None:
            # Python ignores this signal and would raise an error; left alone it ends the process
            # inside the write, with no chance to clean up.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))


def _sizes(path: Path) -> dict[str, int]:
    if path.is_file():
        return {"": path.stat().st_size}
    return {str(p.relative_to(path)): p.stat().st_size for p in path.rglob("*") if p.is_file()}


def _kill_soon(delay: float) -> None:
    def kill_all() -> None:
        time.sleep(delay)
        os.killpg(0, signal.SIGKILL)

    if delay:
        threading.Thread(target=kill_all, daemon=True).start()
    else:
        kill_all()


def load(path: Path) -> tuple[list[Change], dict[str, int]]:
    """What ``Recorder.save`` wrote."""
    changes, ends = json.loads(path.read_text(encoding="utf-8"))
    return [Change(*each) for each in changes], ends


def written(changes: Sequence[Change], ends: dict[str, int], folder: Path) -> list[Written]:
    """The files below ``folder`` that were written, each time that they were.

    Args:
        changes: of the whole run.
        ends: lengths of the files that were opened for writing and never renamed.
    """
    found: list[Written] = []
    first: dict[str, int] = {}  # path -> number of the first change since it was finished
    whole: dict[str, int] = {}  # path -> place in ``found`` of a file that was finished there
    finished = 0
    for number, change in enumerate(changes, 1):
        if change.event != "os.rename":
            first.setdefault(change.path, number)
            continue
        for name, size in change.sizes.items():
            source, target = (f"{at}/{name}".rstrip("/") for at in (change.path, change.target))
            begun = first.pop(source, number)
            place = whole.pop(source, len(found))
            whole[target] = place
            if place < len(found):  # moved on with its folder
                found[place] = found[place]._replace(name=target)
            else:
                found.append(Written(target, size, finished, begun - 1))
        finished = number
    found += [Written(name, ends[name], 0, at - 1) for name, at in first.items() if name in ends]
    return [
        each._replace(name=final_name(Path(each.name).relative_to(folder)))
        for each in found
        if each.size and Path(each.name).is_relative_to(folder)
    ]


def final_name(name: str | Path) -> str:
    """The name that a file gets once it is whole: ``last.pth`` of ``.last.123.part.pth``."""
    parts = [HALF_WRITTEN.sub(r"\1\2", part) for part in Path(name).parts]
    return "/".join(_EVENTS.sub(r"\1", part) for part in parts if part != _RESULTS)


def kind(name: str) -> str:
    """The last two parts of a name, without numbers: ``*/motion.npy``."""
    return re.sub(r"\d+", "*", "/".join(Path(name).parts[-2:]))


def times(folder: Path) -> dict[Path, int]:
    """When each file in a folder was changed last, in ns."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def half_written(
    folder: Path, whole: Mapping[str, set[int]], length: int | None, before: Mapping[Path, int]
) -> set[str]:
    """The kinds of files that a kill left half-written.

    Args:
        folder: of the results.
        whole: lengths of finished files of each kind.
        length: at which the system ended the run, if it did: files of it count, too.
        before: ``times`` of the folder before the run; what it did not change does not count.
    """
    found = set()
    for path, changed in times(folder).items():
        if before.get(path) == changed:
            continue
        name, size = str(path.relative_to(folder)), path.stat().st_size
        final = kind(final_name(name))
        is_part = name != final_name(name) and size not in whole.get(final, ())
        if final in whole and (is_part or size == length):
            found.add(final)
    return found
