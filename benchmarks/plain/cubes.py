"""Cubes in the published chunk format, loaded one by one."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


def write_chunk(path: Path, appearance: np.ndarray, motion: np.ndarray) -> None:
    """Write cubes as a published chunk file, which has one flow more at the front.

    Args:
        appearance: (n,5,32,32,3) uint8.
        motion: (n,4,32,32,2), pixels.
    """
    count = len(appearance)
    content = {
        "sample_id": np.arange(count),
        "appearance": appearance,
        "motion": np.concatenate([motion[:, :1], motion], axis=1).astype(np.float32),
        "bbox": np.zeros((count, 4), np.float32),
        "pred_frame": np.zeros((count, 1), np.int64),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(content, path)


class ChunkDataset(Dataset):
    """All cubes of a chunk file, held in memory."""

    def __init__(self, path: Path) -> None:
        self.chunk = joblib.load(path)

    def __len__(self) -> int:
        return len(self.chunk["sample_id"])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """``frames`` (15,32,32) in [0,1] and ``flows`` (8,32,32) of one cube."""
        frames = [to_tensor(frame) / 255.0 for frame in self.chunk["appearance"][index]]
        flows = [to_tensor(flow) for flow in self.chunk["motion"][index][1:]]
        return torch.cat(frames), torch.cat(flows)


def to_tensor(image: np.ndarray) -> Tensor:
    """(H,W,C) to float32 (C,H,W)."""
    return torch.from_numpy(np.transpose(image, (2, 0, 1)).astype(np.float32))


def plain_loader(path: Path, batch_size: int, shuffle: bool = True) -> DataLoader:
    """Batches of a chunk file, made in this process."""
    return DataLoader(ChunkDataset(path), batch_size, shuffle=shuffle)
