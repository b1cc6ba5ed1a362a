"""YAML files of keys and values; a key that is given twice is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UserError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values.

    Raises:
        UserError: missing, not YAML, not ``key: value`` lines, or a key given twice.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file; cfgs/ holds those shipped") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a YAML file") from None
    except _GivenTwice as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UserError(f"{path}: must hold 'key: value' lines, such as 'data: {{name: ped2}}'")
    return tree


def parse_yaml(text: str) -> Any:
    """What a YAML text means.

    YAML's reader keeps the last of two equal keys in silence, so that a block which was pasted
    twice loses its first half.

    Raises:
        yaml.YAMLError: not YAML, or a key given twice.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    doubled = list(_doubled_keys(root, "", set())) if root is not None else []
    if doubled:
        raise _GivenTwice("; ".join(doubled) + "; keep one of them")
    return yaml.safe_load(text)


class _GivenTwice(yaml.YAMLError):
    """Keys that stand twice in one block."""


def _doubled_keys(node: yaml.Node, prefix: str, seen: set[int]) -> Iterator[str]:
    """One line a doubled key, with its block and both line numbers; aliases are entered once."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubled_keys(item, prefix, seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines and isinstance(key, yaml.ScalarNode):
            yield f"key '{prefix}{name}' is given twice, in lines {lines[name]} and {line}"
        lines.setdefault(name, line)
        yield from _doubled_keys(value, f"{prefix}{name}.", seen)
