"""How many operations a training step starts, which bounds small steps on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.on_gpu.networks import SMALL
from benchmarks.on_gpu.operations import OperationCount, frd_operations, stage_operations

CPU = torch.device("cpu")
SLACK = 1.04  # between versions of torch
# Forward and backward: docs/speed.md.
COUNTS = {
    ("stage1", "fp32"): (120, 144),
    ("stage2", "fp32"): (291, 323),
    ("stage3", "fp32"): (466, 598),
    ("stage1", "bf16"): (182, 205),
    ("stage2", "bf16"): (307, 337),
    ("stage3", "bf16"): (544, 675),
}


@pytest.mark.parametrize(("stage", "precision"), COUNTS)
def test_a_step_of_hf2vad_starts_no_more_operations(stage, precision):
    counted = stage_operations(SMALL, stage, CPU, precision)
    for number, bound in zip(counted, COUNTS[stage, precision], strict=True):
        assert 0.5 * bound < number <= SLACK * bound, counted


@pytest.mark.parametrize(("precision", "counts"), [("fp32", (146, 217)), ("bf16", (229, 315))])
def test_a_step_of_frd_uvad_starts_no_more_operations(precision, counts):
    counted = frd_operations(replace(SMALL, frd=(6, 2, 2, 2, 256, 8)), CPU, precision)
    for number, bound in zip(counted, counts, strict=True):
        assert 0.5 * bound < number <= SLACK * bound, counted


def test_what_computes_is_counted_and_views_are_not():
    x = torch.ones(2, 3)
    with OperationCount() as count:
        (x.T.flatten() + torch.empty(6)).view(2, 3).detach()
    assert count.names == {"clone.default": 1, "add.Tensor": 1} and count.total == 2
