"""Sizes that kernels and their callers agree on; without Numba, which takes a second to load."""

from __future__ import annotations

LANES = 16  # float32 of a vector
BLOCK = 32  # rows, columns and depth of what is multiplied at a time: two by two tiles of AMX
HALF = BLOCK // 2
TILE_BYTES = 1024  # of a tile of AMX: 16 rows of 64 bytes
WINOGRAD_TILE = 4  # results a side
