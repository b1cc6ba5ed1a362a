"""Whether code can be compiled here, and whether for Intel's matrix tiles (AMX)."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from importlib.util import find_spec

# Of Linux on x86-64: the system call arch_prctl, its request for a feature, and tile data's number.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


def compiles() -> bool:
    """Whether Numba is here and is to compile: ``NUMBA_DISABLE_JIT=1`` leaves all to torch."""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


@cache
def usable() -> bool:
    """Whether there are tiles. Linux gives them only to a process that has asked: this one does."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or not compiles():
        return False
    import llvmlite.binding
    from numba.core import config

    if config.CPU_NAME or config.CPU_FEATURES is not None:  # told not to look at the processor
        return False
    features = llvmlite.binding.get_host_cpu_features()
    if not (features.get("amx-tile") and features.get("amx-bf16") and features.get("avx512f")):
        return False
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0
