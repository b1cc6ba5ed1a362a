"""Ways to damage a file: its bytes, the pickle in a checkpoint, a value in a checkpoint."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

from tests.helpers.edits import NASTY, places, replaced

Damage = Callable[[bytes], bytes]  # of a good file the damaged one; says in its ``repr`` what it is

_FILLS = ("fill nan", "fill inf", "fill -1e38", "fill 0", "fill -1")
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


@dataclass(frozen=True)
class Bytes:
    """Edits of a file's bytes."""

    changes: list[Edit]

    def __call__(self, good: bytes) -> bytes:
        """The edited bytes."""
        data = bytearray(good)
        for change in self.changes:
            change.apply(data)
        return bytes(data)


@dataclass(frozen=True)
class Pickled:
    """Edits of the pickle in a checkpoint, whose checksums are right all the same."""

    changes: list[Edit]

    def __call__(self, good: bytes) -> bytes:
        """The checkpoint with the edited pickle."""
        whole = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(whole, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, Bytes(self.changes)(data) if name.endswith(".pkl") else data)
        return whole.getvalue()


@dataclass(frozen=True)
class Value:
    """Another value at a place in a checkpoint; of a tensor also a number all over it.

    Attributes:
        at: keys from the root.
        value: the value, or a number as text: ``"fill nan"``.
    """

    at: tuple
    value: Any

    def __call__(self, good: bytes) -> bytes:
        """The checkpoint with that value."""
        tree, value = torch.load(io.BytesIO(good), weights_only=True), self.value
        if isinstance(value, str) and value.startswith("fill "):
            old = tree
            for key in self.at:
                old = old[key]
            value = torch.full_like(old, float(value.removeprefix("fill ")))
        stream = io.BytesIO()
        torch.save(replaced(tree, self.at, value), stream)
        return stream.getvalue()

    def __repr__(self) -> str:
        return f"{'/'.join(map(str, self.at))} = {str(self.value)[:50]}"


def _edits() -> st.SearchStrategy[list[Edit]]:
    """A few edits, most often one, half of them near the ends, where headers and tables are."""
    kinds = ("change",) * 6 + ("insert",) * 3 + ("remove",) * 3 + ("double",) * 3 + ("cut",)
    place = st.integers(-_HEADER, _HEADER) | st.integers(0, 2**24)
    edit = st.builds(
        Edit, st.sampled_from(kinds), place, st.integers(0, 255), st.sampled_from(_NASTY)
    )
    few, some, many = (st.lists(edit, min_size=1, max_size=most) for most in (1, 2, 12))
    return few | few | some | many


def of_bytes() -> st.SearchStrategy[Damage]:
    """Edits of any file."""
    return _edits().map(Bytes)


def of_pickles() -> st.SearchStrategy[Damage]:
    """Edits of the pickle in a checkpoint."""
    return _edits().map(Pickled)


def of_values(good: bytes) -> st.SearchStrategy[Damage]:
    """Other values in a checkpoint."""
    tree = torch.load(io.BytesIO(good), weights_only=True)
    every = list(places(tree))
    numbers = [at for at in every if _is_number(tree, at)]
    replacing = st.builds(Value, st.sampled_from(every), st.sampled_from(NASTY))
    filling = st.builds(Value, st.sampled_from(numbers), st.sampled_from(_FILLS))
    return replacing | replacing | filling


def _is_number(tree: Any, at: tuple) -> bool:
    for key in at:
        tree = tree[key]
    return isinstance(tree, torch.Tensor) and tree.is_floating_point() and tree.numel() > 0
