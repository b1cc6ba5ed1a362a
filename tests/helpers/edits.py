"""Edits of the tables in a checkpoint: every place, every kind of wrong value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

REMOVED = "(removed)"
_DEEP: Any = 0
for _ in range(50):
    _DEEP = [_DEEP]
NASTY = (
    REMOVED, None, -1, 2**70, float("nan"), "x" * 2000, {}, _DEEP, torch.zeros(0),
    torch.zeros(3, dtype=torch.int64), torch.zeros(2, device="meta"), torch.zeros(2).to_sparse(),
)  # fmt: skip


def places(tree: Any, at: tuple = ()) -> Iterator[tuple]:
    """Where there is a value: keys and indices from the root, tables and their parts alike.

    Of many values of one kind in one table the first two are enough.
    """
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    seen: Counter[type] = Counter()
    for key, value in parts:
        seen[type(value)] += 1
        if at and seen[type(value)] > 2:
            continue
        yield (*at, key)
        if isinstance(value, dict | list | tuple):
            yield from places(value, (*at, key))


def replaced(tree: Any, at: tuple, value: Any) -> Any:
    """A copy of ``tree`` with another value at a place; tensors are shared."""
    key, *rest = at
    copied = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        copied[key] = replaced(tree[key], tuple(rest), value)
    elif isinstance(value, str) and value == REMOVED:
        del copied[key]
    else:
        copied[key] = value
    return copied if isinstance(tree, dict) else type(tree)(copied)
