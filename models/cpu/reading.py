"""Reading a finished model's memory on a CPU that has matrix tiles (AMX)."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from models.cpu import amx
from models.cpu.convolution import Prepared, alone
from models.cpu.products import pack, product
from models.layers.memory import Memory

FEWEST_QUERIES = 16  # half of what tiles multiply at once
_packing = threading.Lock()


class PackedMemory(Prepared):
    """As ``memory``, for inference; equal to about 1e-5 of the values' size.

    Takes the memory itself where it must: on a GPU, in another precision, for an export, for few
    queries, and where torch has several threads, for this has one (:mod:`models.cpu.parts` gives
    each thread work). Keeps the slots twice more, in the order that each of its products wants,
    and features channels last.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same and the attention (B, slots): see ``Memory.forward``."""
        if len(features) < FEWEST_QUERIES or not alone(features) or not amx.usable():
            return self.memory(features)
        batch, channels, height, width = features.shape
        num_slots, num_features = self.memory.slots.shape
        to_score, to_read = self._slots(channels, height, width)
        query = features.permute(0, 2, 3, 1).reshape(batch, num_features)
        attention = self.memory.weigh(product(query, to_score)[:, :num_slots])
        few = self.memory.read_few(attention)
        if few is not None:
            read = few.view(features.shape).contiguous(memory_format=torch.channels_last)
            return read, attention
        read = product(attention, to_read)[:, :num_features]
        return read.view(batch, height, width, channels).permute(0, 3, 1, 2), attention

    def _slots(self, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        with _packing:  # once, though several threads want it at once
            if self.prepared is None:
                slots = self.memory.slots.detach().view(1, -1, *shape).movedim(2, -1).flatten(2)
                self.prepared = pack(slots.mT)[0], pack(slots)[0]
            return self.prepared
