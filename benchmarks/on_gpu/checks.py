"""Whether a device computes what the CPU computes, on fresh random inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.on_gpu.networks import (
    Sizes,
    computing_in,
    cubes,
    new_model,
    precisions_of,
    stage_loss,
)
from engine.scoring.network import TorchScorer, random_cubes
from engine.state import WeightAverage
from losses.frd import AnomalyBank
from losses.frd_step import FRDStep
from models.flownet2.blocks import correlation
from models.frd.frd import FRD

CPU = torch.device("cpu")
# Largest relative difference: of losses and errors; of a parameter's gradient in each precision.
LIMITS = {"fp32": (1e-3, 1e-2), "tf32": (1e-2, 1e-1), "bf16": (5e-2, 5e-1)}
Check = dict[str, Any]


def all_checks(sizes: Sizes, device: torch.device, seed: int) -> Iterable[Check]:
    """One after another: ``name``, ``difference``, ``limit``, ``good``."""
    for stage in ("stage1", "stage2", "stage3"):
        yield from check_stage(sizes, stage, device, seed)
    yield check_scores(sizes, device, seed)
    yield check_average(sizes, device)
    yield check_correlation(device, seed)
    yield from check_frd(sizes, device, seed)


def check_stage(sizes: Sizes, stage: str, device: torch.device, seed: int) -> list[Check]:
    """Loss and gradients of a stage in every precision, without dropout, latents at their means."""
    expected = _loss_and_gradients(sizes, stage, CPU, seed, "fp32")
    checks = []
    for precision in precisions_of(device):
        found = _loss_and_gradients(sizes, stage, device, seed, precision)
        limits = LIMITS[precision]
        checks.append(_check(f"{stage} loss, {precision}", found[:1], expected[:1], limits[0]))
        # Together, for some gradients are all but zero.
        joined = [torch.cat([each.flatten() for each in side[1:]]) for side in (found, expected)]
        checks.append(_check(f"{stage} gradients, {precision}", joined[:1], joined[1:], limits[1]))
    return checks


def check_scores(sizes: Sizes, device: torch.device, seed: int) -> Check:
    """Errors of cubes by the full model."""
    model, given = new_model(sizes, seed=seed).eval(), random_cubes(sizes.checked, seed)
    with computing_in(device, "fp32"):
        found, expected = (TorchScorer(model, where)(*given).values() for where in (device, CPU))
    return _check("scores, fp32", found, expected, LIMITS["fp32"][0])


def check_average(sizes: Sizes, device: torch.device) -> Check:
    """Three updates of averaged weights."""
    results = []
    for where in (device, CPU):
        model = new_model(sizes).memae.to(where)
        average = WeightAverage(model, 0.9)
        for _ in range(3):
            with torch.no_grad():
                torch._foreach_mul_(list(model.parameters()), 1.5)
            average.update(model)
        results.append([each.float() for each in average.module.state_dict().values()])
    return _check("averaged weights", *results, 1e-5)


def check_correlation(device: torch.device, seed: int) -> Check:
    """FlowNet2's correlation."""
    first, second = torch.randn(2, 2, 16, 24, 32, generator=torch.Generator().manual_seed(seed))
    with computing_in(device, "fp32"):
        found = correlation(first.to(device), second.to(device))
    return _check("correlation, fp32", [found], [correlation(first, second)], LIMITS["fp32"][0])


def check_frd(sizes: Sizes, device: torch.device, seed: int) -> list[Check]:
    """Losses of three steps with a bank that fills; then that no step waited for the GPU."""
    results = []
    for where in (CPU, device):
        with computing_in(where, "fp32"):
            results.append(_frd_losses(sizes, where, seed))
    return [_check("FRD losses with the bank, fp32", results[1], results[0], LIMITS["fp32"][0])]


def check_no_waiting(step: Callable[[], Any], name: str) -> Check:
    """Whether a step makes the host wait for the GPU; on a CPU it cannot."""
    if not torch.cuda.is_available():
        return {"name": f"{name}: no waiting", "difference": 0.0, "limit": 0.0, "good": True}
    step()
    with _waiting_refused():
        try:
            step()
            fault = ""
        except RuntimeError as error:
            fault = str(error).splitlines()[0]
    return {
        "name": f"{name}: no waiting {fault}".strip(), "difference": float(bool(fault)),
        "limit": 0.0, "good": not fault,
    }  # fmt: skip


@contextmanager
def _waiting_refused() -> Any:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _loss_and_gradients(
    sizes: Sizes, stage: str, device: torch.device, seed: int, precision: str
) -> list[Tensor]:
    model = new_model(sizes, dropout=0.0, seed=seed).to(device).train()
    if stage == "stage2":
        model.freeze_memae()
    trained: nn.Module = model.memae if stage == "stage1" else model
    with computing_in(device, precision):
        batch = cubes(sizes.checked, device, seed)
        loss = stage_loss(stage, trained, *batch, sample=False)
    loss.backward()
    return [loss.detach(), *(each.grad for each in trained.parameters() if each.grad is not None)]


def _frd_losses(sizes: Sizes, device: torch.device, seed: int) -> list[Tensor]:
    _, held, crops, snippets, size, blocks = sizes.frd
    torch.manual_seed(seed)
    model = FRD(size, blocks, disruption=0.0, dropout=0.0)
    items = torch.randn(3, sizes.checked, crops, snippets, size)
    model = copy.deepcopy(model).to(device)
    step = FRDStep(AnomalyBank(max(held, 4 * sizes.checked)), "wlab", 0.0, {}, 0.5)
    rows = torch.arange(sizes.checked * snippets).view(sizes.checked, snippets)
    with torch.no_grad():
        return [step(model, rows, each.to(device))["total"] for each in items]


def _check(name: str, found: Iterable[Tensor], expected: Iterable[Tensor], limit: float) -> Check:
    """The largest relative difference, by norms."""
    differences = [
        float((a.detach().cpu().double() - b.detach().double()).norm() / b.double().norm())
        for a, b in zip(found, expected, strict=True)
        if b.double().norm() > 0
    ]
    difference = max(differences, default=0.0)
    return {"name": name, "difference": difference, "limit": limit, "good": difference <= limit}
