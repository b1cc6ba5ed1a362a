"""Tensors from outside: dense, named, in memory; archives that are no larger than they say."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError


def require_plain_tensors(tensors: Mapping[Any, Any], source: str, repeated: bool = False) -> None:
    """Refuse what is no named, dense tensor with all its values in memory.

    Args:
        tensors: by name.
        source: for messages.
        repeated: admit tensors that repeat fewer values than they have; what is compared with a
            network's own shapes before it is copied may.

    Raises:
        UserError: naming it.
    """
    for name, tensor in tensors.items():
        fault = None
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            fault = f"a {type(tensor).__name__}, no tensor"
        elif tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            fault = f"a tensor of layout {tensor.layout} on {tensor.device}, not a dense one"
        elif (
            not repeated
            and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            fault = f"a tensor of shape {tuple(tensor.shape)}, but holds fewer values"
        if fault:
            raise UserError(f"{source}: {str(name)[:100]} is {fault}; save it again")


def require_stored(path: Path) -> None:
    """Refuse a zip archive that unpacks to more than itself: ``torch.save`` never compresses.

    Raises:
        UserError: its members are together larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    size = path.stat().st_size
    if unpacked > size:
        raise UserError(
            f"{path}: a compressed archive of {size} bytes that unpacks to {unpacked}; torch.save "
            "does not compress: load it where you trust it, and save it again"
        )
