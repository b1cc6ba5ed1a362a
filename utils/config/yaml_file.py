"""YAML files of keys and values; a key that is given twice is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UserError
from utils.files import require_file
from utils.untrusted.text import shortened

_LONGEST = 300_000  # characters of a text: some seconds of reading
_MOST_VALUES = 1_000_000  # that it stands for


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values.

    Raises:
        UserError: missing, not YAML, not ``key: value`` lines, or a key given twice.
    """
    try:
        tree = parse_yaml(_read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file; cfgs/ holds those shipped") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a YAML file") from None
    except _GivenTwice as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UserError(f"{path}: must hold 'key: value' lines, such as 'data: {{name: ped2}}'")
    return tree


def _read_text(path: Path) -> str:
    require_file(path)
    with path.open(encoding="utf-8-sig") as handle:
        return handle.read(_LONGEST + 1)


def parse_yaml(text: str) -> Any:
    """What a YAML text means.

    YAML's reader keeps the last of two equal keys in silence, so that a block which was pasted
    twice loses its first half.

    Raises:
        yaml.YAMLError: not YAML, a key given twice, nested too deeply, a date or number that there
            is not, or aliases that stand for far more than is written.
    """
    if len(text) > _LONGEST:
        raise yaml.YAMLError(f"{len(text)} characters are no configuration")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _require_small(root)
        doubled = list(_doubled_keys(root, "", set()))
        if doubled:
            raise _GivenTwice("; ".join(doubled) + "; keep one of them")
        return loader.construct_document(root)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # of dates and numbers that there are not
        raise yaml.YAMLError(str(error)) from None


def _require_small(root: yaml.Node) -> None:
    """Refuse aliases of aliases, which stand for more than any memory holds."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            raise yaml.YAMLError("a block holds itself")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = [each for part in parts for each in (part if type(part) is tuple else (part,))]
            sizes[id(node)] = 1 + sum(map(size, flat))
            open_nodes.discard(id(node))
        return sizes[id(node)]

    if size(root) > _MOST_VALUES:
        raise yaml.YAMLError("its aliases stand for more than a configuration can hold")


class _GivenTwice(yaml.YAMLError):
    """Keys that stand twice in one block."""


def _doubled_keys(node: yaml.Node, prefix: str, visited: set[int]) -> Iterator[str]:
    """One line a doubled key, with its block and both line numbers; aliases are entered once."""
    if id(node) in visited or isinstance(node, yaml.ScalarNode):
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubled_keys(item, prefix, visited)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines and isinstance(key, yaml.ScalarNode):
            key_name = shortened(prefix + name, 100)
            yield f"key '{key_name}' is given twice, in lines {lines[name]} and {line}"
        lines.setdefault(name, line)
        yield from _doubled_keys(value, f"{prefix}{name}.", visited)
