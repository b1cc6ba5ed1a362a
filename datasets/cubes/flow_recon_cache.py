"""Reconstructed flows of a frozen autoencoder: computed once a cube, then kept."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError
from utils.files import require_free_space
from utils.transfer import fits, send

ROW_SHAPE = (32, 32, 8)  # channels last, as convolutions read them
ROW_BYTES = 2 * int(np.prod(ROW_SHAPE))


class ResidentFlowRecon:
    """Asks the autoencoder for each cube once and keeps the answer on a GPU, in half precision.

    A GPU computes them anew faster than a disk would keep them, so a resumed run begins anew.

    Args:
        count: number of cubes, 16 kB each.
        device: where they stay.
        reconstruct: maps flows (B, 8, 32, 32) float32 to their reconstruction, alike.
    """

    def __init__(
        self, count: int, device: torch.device, reconstruct: Callable[[Tensor], Tensor]
    ) -> None:
        self._known, self._reconstruct = np.zeros(count, bool), reconstruct
        self._rows = torch.empty((count, *ROW_SHAPE), dtype=torch.float16, device=device)

    def __call__(self, indices: Tensor, flows: Tensor) -> Tensor:
        """As ``FlowReconCache``; ``indices`` are on the host."""
        rows = send(indices, flows.device)
        missing = np.flatnonzero(~self._known[indices.numpy()])
        if len(missing):
            at = send(torch.from_numpy(missing), flows.device)
            reconstructed = self._reconstruct(flows.index_select(0, at)).permute(0, 2, 3, 1)
            self._rows.index_copy_(0, rows.index_select(0, at), reconstructed.half())
            self._known[indices.numpy()] = True
        return self._rows.index_select(0, rows).permute(0, 3, 1, 2).float()

    def remove(self) -> None:
        """Nothing is on disk."""


def open_flow_recon_cache(
    folder: Path,
    count: int,
    key: str,
    reconstruct: Callable[[Tensor], Tensor],
    device: torch.device,
) -> FlowReconCache | ResidentFlowRecon:
    """What keeps the reconstructions: a GPU where they fit, else the disk; see ``FlowReconCache``.

    Args:
        device: where training computes.
    """
    if fits(device, count * ROW_BYTES):
        return ResidentFlowRecon(count, device, reconstruct)
    return FlowReconCache(folder, count, key, reconstruct)


class FlowReconCache:
    """Asks the autoencoder for each cube once and keeps the answer in half precision.

    A cube takes 16 kB. What is kept outlives the process, so a stopped run does not begin anew.
    Processes of one machine share the file; each machine has its own. Nothing is written before
    the first call.

    Args:
        folder: where the file lies.
        count: number of cubes.
        key: changes when the cubes or the autoencoder do; files of other keys are removed.
        reconstruct: maps flows (B, 8, 32, 32) float32 to their reconstruction, alike.
    """

    def __init__(
        self, folder: Path, count: int, key: str, reconstruct: Callable[[Tensor], Tensor]
    ) -> None:
        self._folder, self._count, self._reconstruct = Path(folder), count, reconstruct
        name = f"flow_recon_{key[:12]}_{platform.node() or 'here'}"
        self._path = self._folder / f"{name}.bin"
        self._known_path = self._folder / f"{name}.known"
        self._rows: np.ndarray | None = None

    def __call__(self, indices: Tensor, flows: Tensor) -> Tensor:
        """Reconstructions (B, 8, 32, 32) float32, on the device of ``flows``.

        Args:
            indices: (B,) int64, numbers of the cubes.
            flows: (B, 8, 32, 32) float32, their flows, pixels.

        Raises:
            UserError: the disk is full.
        """
        cached = self._open() if self._rows is None else self._rows
        rows = indices.cpu().numpy()
        missing = np.flatnonzero(self._known[rows] == 0)
        if len(missing):
            reconstructed = self._reconstruct(flows[torch.from_numpy(missing).to(flows.device)])
            self._keep(rows[missing], reconstructed)
        kept = torch.from_numpy(cached[rows])  # a copy
        return kept.to(flows.device, non_blocking=True).permute(0, 3, 1, 2).float()

    def remove(self) -> None:
        """Delete the files; reading goes on from what is mapped."""
        for path in (self._path, self._known_path):
            path.unlink(missing_ok=True)

    def _open(self) -> np.ndarray:
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"flow_recon_*_{platform.node() or 'here'}.*"):
            if path not in (self._path, self._known_path):
                path.unlink(missing_ok=True)
        if not self._path.exists():
            what = "reconstructed flows (cvae.keep_flow_recon=false does without)"
            require_free_space(self._folder, self._count * ROW_BYTES, what)
        self._grow(self._path, self._count * ROW_BYTES)
        self._grow(self._known_path, self._count)
        self._rows = np.memmap(self._path, np.float16, "r", shape=(self._count, *ROW_SHAPE))
        self._known = np.memmap(self._known_path, np.uint8, "r", shape=(self._count,))
        return self._rows

    @staticmethod
    def _grow(path: Path, size: int) -> None:
        with path.open("ab") as handle:
            handle.truncate(size)

    def _keep(self, rows: np.ndarray, reconstructed: Tensor) -> None:
        values = reconstructed.detach().permute(0, 2, 3, 1).half().cpu().contiguous().numpy()
        try:
            # Written, not stored through the map: a full disk is then an error, not a crash.
            with self._path.open("rb+") as data, self._known_path.open("rb+") as known:
                for row, value in zip(rows.tolist(), values, strict=True):
                    data.seek(row * ROW_BYTES)
                    data.write(value.tobytes())
                data.flush()
                for row in rows.tolist():  # only once the values are there
                    known.seek(row)
                    known.write(b"\x01")
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}); free some space, or set "
                "cvae.keep_flow_recon=false"
            ) from error
