"""Devices of processes that train together, and the gradients that they share.

Gradients go through accelerate (DistributedDataParallel): each process weighs its loss by its share
of the step's items, so the gradient is that of the mean over all of them, however unevenly they are
dealt. BatchNorm sees the samples of all GPUs (SyncBatchNorm); on CPUs, where torch has none, each
process normalises by its own, and the first one's running statistics count.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from utils import distributed
from utils.console import echo
from utils.errors import UserError


def make_accelerator(device: torch.device) -> Accelerator:
    """The device of this process, whoever started it.

    Mixed precision stays with ``utils.runtime.autocast``: accelerate would patch the model's
    ``forward`` for good, and the score statistics at the end are made in float32.

    Raises:
        UserError: a machine has more processes than GPUs.
    """
    here, gpus = distributed.local_count(), torch.cuda.device_count()
    if device.type == "cuda" and distributed.count() > 1 and here > gpus:
        raise UserError(
            f"{here} processes on this machine, but {gpus} GPU(s); start one process per GPU, or "
            "set run.device=cpu"
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


def share_gradients(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The model to train with; the wrapper also starts all processes from the same weights."""
    if distributed.count() == 1:
        return model
    if accelerator.device.type == "cuda":
        return accelerator.prepare_model(nn.SyncBatchNorm.convert_sync_batchnorm(model))
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        echo("BatchNorm on CPUs: each process normalises by its own share of a batch")
    return accelerator.prepare_model(model)
