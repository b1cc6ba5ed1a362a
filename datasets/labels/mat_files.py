"""MATLAB files, read in a process of their own.

SciPy's reader crashes on some damaged files (a bus error in SciPy 1.17), and a crash cannot
be caught. And a small file may unpack to more than the machine has, so that memory is limited. The
process that reads hands plain arrays back.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 300.0  # seconds
_OWN_MEMORY = 2**30  # bytes of the other process before it reads
_MOST_BYTES = 2**30  # of all arrays: the masks of Avenue's longest video are a third of it
_TOO_LARGE = "unpacks to more than labels need; save the variables that are needed alone"
_NEWER = "a MATLAB 7.3 file; save it again with -v7"

Variables = dict[str, np.ndarray | list[np.ndarray]]


def read_mat(path: str | Path, names: Sequence[str] = ()) -> Variables:
    """The variables of a MATLAB file, up to version 7.

    Args:
        path: the file.
        names: only these variables; default: all.

    Returns:
        Name -> array; a cell array as the list of its cells, column by column as MATLAB counts.

    Raises:
        UserError: not such a file, damaged, or holding anything but numbers, texts and cells.
    """
    path = Path(path).absolute()
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "content.npz"
        command = [
            sys.executable,
            "-m",
            "datasets.labels.mat_files",
            str(path),
            str(content),
            str(_MOST_BYTES),
            *names,
        ]
        try:
            done = subprocess.run(
                command, cwd=_ROOT, capture_output=True, text=True, errors="replace",
                timeout=_LONGEST, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UserError(f"{path}: reading it takes over {_LONGEST:.0f} s; damaged?") from None
        if done.returncode == 0:
            return _unpack(content)
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else "no reason given"
        if done.returncode < 0:
            number = -done.returncode
            reason = f"reading it ended in a crash: {signal.strsignal(number) or number}"
        if reason in (_NEWER, _TOO_LARGE):
            raise UserError(f"{path}: {reason}")
        raise UserError(f"{path}: not a MATLAB file or damaged ({reason}); fetch it again")


def _unpack(content: Path) -> Variables:
    with np.load(content, allow_pickle=False) as archive:
        variables: Variables = {}
        for place, (name, count) in enumerate(json.loads(str(archive["names"]))):
            if count is None:
                variables[name] = archive[f"{place}"]
            else:
                variables[name] = [archive[f"{place}.{cell}"] for cell in range(count)]
        return variables


def _pack(path: str, content: str, most: int, names: Sequence[str]) -> None:
    """The other process: read with SciPy and write the arrays down."""
    import scipy.io

    memory = _OWN_MEMORY + 3 * most
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    variables = scipy.io.loadmat(path, variable_names=list(names) or None)
    listed: list[tuple[str, int | None]] = []
    arrays: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        if name.startswith("__"):
            continue
        place = len(listed)
        is_cell = isinstance(value, np.ndarray) and value.dtype.kind == "O"
        cells = list(value.ravel(order="F")) if is_cell else [value]
        for number, cell in enumerate(cells):
            if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "biufUS":
                raise ValueError(f"{name}: neither numbers, text nor cells of them")
            arrays[f"{place}.{number}" if is_cell else f"{place}"] = cell
        listed.append((name, len(cells) if is_cell else None))
    size = sum(array.nbytes for array in arrays.values())
    if size > most:
        raise MemoryError(f"it holds {size / 2**20:.0f} MiB")
    everything: dict[str, Any] = {"names": np.array(json.dumps(listed)), **arrays}
    np.savez(content, **everything)


def _main() -> None:
    try:
        _pack(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    except NotImplementedError:
        sys.exit(_NEWER)
    except MemoryError:
        sys.exit(_TOO_LARGE)
    except Exception as error:  # loadmat lets errors of its many parts through
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))


if __name__ == "__main__":
    _main()
