"""What programs leave in a folder, as values that can be compared: bytes, tensors, pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

_BLOCK, _LEVELS = 8, 8  # pixels, grey levels: see Pictures
_REVISION = re.compile(rb"git_revision[\": ]+[\w-]+")  # a commit may come between two runs


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what only one of both has, or what differs."""
    none = object()
    names = sorted(found.keys() | expected.keys())
    return [key for key in names if found.get(key, none) != expected.get(key, none)]


def whole_files(folder: Path) -> dict[str, Any]:
    """Every file's bytes; nothing half-written may be among them.

    The claim of a killed worker may stay: it says nothing once its video is finished.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def whole_checkpoints(folder: Path) -> dict[str, Any]:
    """All that checkpoints hold, to the last bit, and the log without its clock.

    The revision of the code is left out. TensorBoard's files hold times and are not compared.
    """
    found: dict[str, Any] = {path.name: path.exists() for path in folder.rglob(".*.part*")}
    found |= {path.name: path.read_bytes() for path in folder.rglob("config.yaml")}
    for path in sorted(folder.rglob("*.pth")):
        for key, value in _leaves(torch.load(path, weights_only=True), path.name):
            if not key.endswith("git_revision"):
                found[key] = value.numpy().tobytes() if isinstance(value, torch.Tensor) else value
    for path in folder.rglob("log.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found["log.jsonl"] = [{**line, "seconds": 0} for line in lines]
    return found


def results(folder: Path) -> dict[str, Any]:
    """Every file of scores: tables, numbers, alarms, report and pictures by their bytes.

    Of videos, annotated ones and clips of alarms, every picture with its time.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {
        str(path.relative_to(folder)): Pictures(path)
        if path.suffix == ".mp4" and not path.name.startswith(".")
        else _REVISION.sub(b"", path.read_bytes())
        for path in paths
    }


class Pictures:
    """The pictures of a video with their times; equal to those of another that looks the same.

    x264's lookahead reads memory that it has not written, so a block now and then is encoded
    otherwise. Another picture (one letter of its caption is enough) is not equal.
    """

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        self.times = [frame.pts for frame in frames]
        self.pixels = [frame.to_ndarray(format="gray") for frame in frames]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pictures) or self.times != other.times:
            return False
        return all(map(_look_alike, self.pixels, other.pixels))

    __hash__ = None  # type: ignore

    def __repr__(self) -> str:
        return f"{len(self.times)} pictures"


def _look_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether no block of 8x8 pixels differs by more than a few grey levels on average."""
    if one.shape != other.shape:
        return False
    difference = cv2.absdiff(one, other).astype(np.float32)
    return float(cv2.blur(difference, (_BLOCK, _BLOCK)).max()) <= _LEVELS


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, (dict, list, tuple)):
        yield name, tree
        return
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield from _leaves(value, f"{name}/{key}")
