"""Files that the configuration inside a checkpoint names.

A checkpoint may come from anywhere. Its configuration must not lead to a file, least of all to one
that is code (an mmdet configuration), unless the user names that file, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from utils.errors import UserError

# Every backend -> the keys of its block that name a file.
_BOX_FILES: dict[str, tuple[str, ...]] = {
    "motion": (),
    "yolox": ("weights",),
    "torchvision": ("weights",),
    "mmdet": ("model", "weights"),
    "file": ("training_file", "testing_file"),
}
_FLOW_FILES: dict[str, tuple[str, ...]] = {
    "dis": (),
    "raft": ("weights",),
    "flownet2": ("weights",),
    "file": (),
}
_DATA_FILES = (
    "root", "training_features", "training_ranges", "training_list", "testing_features",
    "testing_ranges", "testing_list", "testing_labels",
)  # fmt: skip
_NO_FILE = ("", "none")


def require_named_by_user(
    config: Any, blocks: Sequence[str], overrides: Sequence[str], source: str
) -> None:
    """Refuse files that a checkpoint's configuration names and the command line does not.

    Args:
        config: the checkpoint's configuration, overrides merged in.
        blocks: which blocks the caller opens files of: ``data``, ``pre_process``.
        overrides: the user's ``key.sub=value`` strings.
        source: the checkpoint's path, for messages.

    Raises:
        UserError: names each key with the option that admits it.
    """
    given = {override.partition("=")[0] for override in overrides}
    named = {"data": _data_files, "pre_process": _pre_process_files}
    foreign = {
        key: value
        for block in blocks
        for key, value in named[block](getattr(config, block))
        if value not in _NO_FILE and not any(f"{key}.".startswith(f"{each}.") for each in given)
    }
    if foreign:
        options = " ".join(f"{key}={value}" for key, value in foreign.items())
        raise UserError(
            f"{source}: its configuration names {', '.join(map(repr, foreign.values()))}; what a "
            f"checkpoint names is opened only when you name it, too: add --set {options} if you "
            "trust it (an mmdet configuration is code), or other values"
        )


def options_that_name(config: Any) -> str:
    """Options with which ``infer.py`` opens the files this configuration names; empty or `` --set``
    and what follows, quoted for a shell."""
    named = _pre_process_files(config.pre_process)
    options = [f"{key}={value}" for key, value in named if value not in _NO_FILE]
    return f" --set {shlex.join(options)}" if options else ""


def _data_files(data: Any) -> Iterator[tuple[str, str]]:
    for key in _DATA_FILES:
        yield f"data.{key}", getattr(data, key, "")


def _pre_process_files(pre_process: Any) -> Iterator[tuple[str, str]]:
    if hasattr(pre_process, "features"):  # of FRD-UVAD
        yield "pre_process.features.weights", pre_process.features.weights
        return
    for block, files in (("boxes", _BOX_FILES), ("flow", _FLOW_FILES)):
        settings = getattr(pre_process, block)
        for key in files[settings.backend]:
            yield f"pre_process.{block}.{key}", getattr(settings, key)
