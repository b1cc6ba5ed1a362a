"""Read a YAML configuration, apply ``--set`` overrides, report all faults at once."""

from __future__ import annotations

import argparse
import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from utils.config.frd import FRDConfig
from utils.config.hf2vad import HF2VADConfig
from utils.config.named_files import require_named_by_user
from utils.config.yaml_file import parse_yaml, read_yaml
from utils.errors import UserError
from utils.files import write_text
from utils.untrusted.text import shortened

SYSTEMS: dict[str, type[BaseModel]] = {"hf2vad": HF2VADConfig, "frd": FRDConfig}
SCORING_BLOCKS = ("data", "run", "eval")  # what may change between training and scoring
OVERRIDES = (*SCORING_BLOCKS, "density")  # and what the command line may: where a backbone lies


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg_file`` and ``--set``, which every script has."""
    parser.add_argument("--cfg_file", required=True, help="the data set's YAML file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override any key, for example --set cvae.num_epochs=5 run.seed=1",
    )


def load_config(path: str | Path, overrides: Sequence[str] = (), system: str = "hf2vad") -> Any:
    """Read and check a configuration file.

    Args:
        path: YAML file.
        overrides: ``key.sub=value`` strings; the value is read as YAML.
        system: which system the calling script belongs to (``hf2vad`` or ``frd``).

    Returns:
        The schema object of that system.

    Raises:
        UserError: unreadable file, or faults in keys or values (all of them in one message).
    """
    tree = read_yaml(Path(path))
    for override in overrides:
        apply_override(tree, override)
    return build_config(tree, str(path), system)


def build_config(tree: dict[str, Any], source: str, system: str = "hf2vad") -> Any:
    """Check a configuration tree that was read from ``source`` (a name for error messages)."""
    actual = tree.get("system", "hf2vad")
    if actual != system:
        raise UserError(
            f"{source}: key 'system' is {_short(actual, repr)}, but this script needs {system!r}; "
            "pass a configuration of that system"
        )
    return validate(tree, SYSTEMS[system], source)


def validate(tree: dict[str, Any], schema: type[BaseModel], source: str) -> Any:
    """Check a tree against a schema.

    Raises:
        UserError: all faults at once, each with key, value, what is allowed and the nearest key.
    """
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        faults = [_describe(fault, schema) for fault in error.errors()]
        raise UserError(f"{source}: {len(faults)} fault(s)\n" + "\n".join(faults)) from None


def scoring_config(
    tree: dict[str, Any],
    source: str,
    cfg_file: str | None = None,
    overrides: Sequence[str] = (),
    system: str = "hf2vad",
    blocks: Sequence[str] | None = None,
    opens: Sequence[str] = ("data",),
) -> Any:
    """The configuration to score with: the checkpoint's, with other data and evaluation merged in.

    Args:
        tree: ``config`` of a checkpoint.
        source: the checkpoint's path, for messages.
        cfg_file: a file whose ``data``, ``run`` and ``eval`` blocks replace the checkpoint's.
        overrides: ``key.sub=value`` strings for keys of ``blocks``.
        blocks: what may be overridden; default: ``OVERRIDES``, as far as the system has them.
        opens: blocks whose files the caller opens.

    Raises:
        UserError: faults in the file, an override of what the checkpoint fixes, or a file that
            the checkpoint names and the user does not.
    """
    tree = copy.deepcopy(tree)
    blocks = blocks or [each for each in OVERRIDES if each in SYSTEMS[system].model_fields]
    if cfg_file is not None:
        file_tree = load_config(cfg_file, system=system).model_dump(mode="json")
        tree |= {block: file_tree[block] for block in SCORING_BLOCKS}
    for override in overrides:
        if override.split(".")[0] not in blocks:
            raise UserError(
                f"--set {_short(override)}: a checkpoint brings its own model and training "
                f"settings; only {', '.join(blocks)} can be set here"
            )
        apply_override(tree, override)
    config = build_config(tree, source, system)
    own = [block for block in opens if cfg_file is None or block not in SCORING_BLOCKS]
    require_named_by_user(config, own, overrides, source)
    return config


def save_config(resolved: dict[str, Any], path: Path) -> None:
    """Write a resolved configuration (``model_dump(mode="json")``) as YAML, atomically."""
    write_text(path, yaml.safe_dump(resolved, sort_keys=False))


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Put one ``key.sub=value`` into a tree of keys; the value is read as YAML.

    Raises:
        UserError: no ``=`` in it, not YAML, or a value where a block is needed.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {_short(override)}: write KEY=VALUE, for example cvae.num_epochs=5")
    try:
        value = parse_yaml(text) if text else ""
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {_short(override)}: the value is not readable as YAML: "
            f"{shortened(str(error), 300)}; a text that looks like a number or date is written "
            "in quotes"
        ) from None
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(
                f"--set {_short(override)}: '{_short(parent)}' holds a value, not a block of keys"
            )
        node = child
    node[last] = value


def _describe(fault: Mapping[str, Any], schema: type[BaseModel]) -> str:
    """One line a fault: key, value, what is allowed, the nearest known key."""
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location) or "(file)"
    if fault["type"] == "extra_forbidden":
        return f"  {_short(key)}: unknown key; {_suggest(location, schema)}"
    if fault["type"] == "missing":
        return f"  {key}: missing; add it"
    return f"  {_short(key)}: {_short(fault['input'], repr)} is not allowed: {fault['msg']}"


def _short(value: Any, write: Callable[[Any], str] = str) -> str:
    """A value in at most 100 characters (60 where it is one of many), whatever it is."""
    try:
        text = write(value)
    except (ValueError, RecursionError):  # Python does not write integers of 5000 digits
        return "a value of thousands of digits or levels"
    return shortened(text, 60 if write is repr else 100)


def _suggest(location: Sequence[str], schema: type[BaseModel]) -> str:
    block = _block_at(schema, location[:-1])
    known = list(block.model_fields) if block else []
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    elsewhere = [name for name in _all_keys(schema) if name.split(".")[-1] == location[-1]]
    if elsewhere:
        return f"did you mean '{elsewhere[0]}'?"
    return f"known keys here: {', '.join(known)}"


def _block_at(schema: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    block: type[BaseModel] | None = schema
    for name in location:
        field = block.model_fields.get(name) if block else None
        block = _as_block(field.annotation) if field else None
    return block


def _as_block(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _all_keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in schema.model_fields.items():
        block = _as_block(field.annotation)
        keys += _all_keys(block, f"{prefix}{name}.") if block else [prefix + name]
    return keys
