"""Write the scoring network as an ONNX file, and check it against PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.scoring.network import ScoringNetwork, random_cubes
from engine.scoring.onnx_backend import CHECKPOINT_KEY, open_session
from utils.errors import UserError
from utils.files import atomic_path, sha256_file

TOLERANCE = 1e-3  # largest relative difference from PyTorch


def export_network(
    model: nn.Module, checkpoint: Mapping[str, Any], source: Path, target: Path
) -> float:
    """Write a model's scoring network.

    Inputs: ``appearance`` (batch,5,32,32,3) uint8 BGR and ``motion`` (batch,4,32,32,2) float16
    pixels. Outputs: ``flow_error``, ``energy`` and, not in stage 1, ``frame_error``,
    ``steady_energy`` and ``fast_energy``, (batch,) float32. The batch may be of any size. The
    metadata tell system, stage and checkpoint.

    Args:
        model: ``MLMemAESC`` or ``HF2VAD``.
        checkpoint: as loaded from ``source``.
        source: the checkpoint's path.
        target: file to write; it appears whole and checked, or not at all.

    Returns:
        The largest relative difference between ONNX Runtime and PyTorch on random cubes.

    Raises:
        UserError: they differ by more than ``TOLERANCE``.
    """
    network = ScoringNetwork(model)
    with atomic_path(target) as temporary:
        program = _trace(network)
        program.model.metadata_props.update(
            {
                "system": checkpoint["system"],
                "stage": checkpoint["stage"],
                CHECKPOINT_KEY: sha256_file(source),
            }
        )
        program.save(str(temporary))
        difference = _largest_difference(network, temporary)
        if difference > TOLERANCE:
            raise UserError(
                f"{target}: not written: ONNX Runtime differs from PyTorch by {difference:.2g}; "
                "try other versions of torch, onnxscript and onnxruntime"
            )
    return difference


def _trace(network: ScoringNetwork) -> Any:
    cubes = tuple(map(torch.from_numpy, random_cubes(3, seed=0)))
    # From 2 on, or torch 2.9 refuses; the file takes one cube, too. Torch 2.6 wants an end.
    batch = torch.export.Dim("batch", min=2, max=2**20)
    logging.getLogger("torch.onnx").setLevel(logging.WARNING)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # both inputs share one axis name: meant
        names = list(network(*cubes))
        return torch.onnx.export(
            network,
            cubes,
            dynamo=True,
            verbose=False,
            input_names=["appearance", "motion"],
            output_names=names,
            dynamic_shapes={"appearance": {0: batch}, "motion": {0: batch}},
        )


def _largest_difference(network: ScoringNetwork, path: Path) -> float:
    session, largest = open_session(path), 0.0
    for count in (1, 7):
        appearance, motion = random_cubes(count, seed=count)
        ours = network(torch.from_numpy(appearance), torch.from_numpy(motion))
        theirs = session.run(None, {"appearance": appearance, "motion": motion})
        for expected, actual in zip(ours.values(), theirs, strict=True):
            reference = expected.numpy().astype(np.float64)
            error = np.abs(actual - reference) / np.maximum(np.abs(reference), 1e-6)
            largest = max(largest, float(error.max()))
    return largest
