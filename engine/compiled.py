"""The network of a training step, compiled by ``torch.compile`` where that proves itself.

Compiled, a step is a few kernels in place of a thousand, and on a GPU one launch of a recorded
graph. Random numbers are torch's own, so that dropout and latents are drawn as they would be.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from utils import distributed
from utils.console import echo
from utils.errors import UserError
from utils.runtime import random_states, restore_random_states

Step = Callable[[nn.Module, Any], torch.Tensor]  # forward and backward; returns the loss

GAIN = 0.95  # of the plain step's time that a compiled one may take at most
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative difference of the losses; TF32 counts as fp32
_TIMED, _WARM = 5, 3


class StepNetwork:
    """Which network a step computes with: the plain one or its compiled equal.

    Args:
        network: the plain one, on its device.
        wanted: ``run.compile``: ``off``, ``on`` or ``auto`` (on a GPU, where a trial says so).
        device: where it computes.
        precision: ``run.precision``, for what counts as the same loss.
        fixed: whether every whole batch has the same shapes; without, only ``on`` compiles.

    Raises:
        UserError: ``on``, and what torch compiles with is not there.
    """

    def __init__(
        self, network: nn.Module, wanted: str, device: torch.device, precision: str, fixed: bool
    ) -> None:
        self.plain, self.device, self.precision = network, device, precision
        self.undecided = (
            wanted == "auto" and device.type == "cuda" and fixed and distributed.count() == 1
        )
        if wanted == "on":
            _require_compiler(device)
        self.compiled = compile_network(network, device) if wanted == "on" else None

    def __call__(self, batch: Any, whole: bool, step: Step) -> nn.Module:
        """The network for ``batch``.

        Args:
            whole: the batch has as many items as the configuration says; a smaller one, at an
                epoch's end, would be compiled by itself.
            step: what the trial repeats.
        """
        if self.undecided and whole:
            self.undecided = False
            self.compiled = proven(self.plain, self.device, self.precision, batch, step)
        if self.compiled is None or not whole:
            return self.plain
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        return self.compiled


def compile_network(network: nn.Module, device: torch.device) -> nn.Module:
    """``network`` compiled at its first call; both share their weights."""
    options: dict[str, Any] = {"fallback_random": True}
    if device.type == "cuda":
        options["triton.cudagraphs"] = True
    compiled: Any = torch.compile(network, dynamic=False, options=options)
    return compiled


def _require_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise UserError("run.compile: on needs the package triton; install it, or set auto")
        return
    named = os.environ.get("CXX")
    if not any(map(shutil.which, [named] if named else ["g++", "c++", "clang++"])):
        raise UserError(
            f"run.compile: on needs a C++ compiler on a CPU, and there is no {named or 'g++'}; "
            "install one, or set auto or off"
        )


def proven(
    network: nn.Module, device: torch.device, precision: str, batch: Any, step: Step
) -> nn.Module | None:
    """``network`` compiled, or ``None`` where that fails, changes the loss, or is not faster.

    Weights, statistics and random states are afterwards as they were before.
    """
    compiled, started = compile_network(network, device), time.perf_counter()
    try:
        expected, plain = _trial(network, network, device, batch, step)
        found, fast = _trial(network, compiled, device, batch, step)
    except Exception as error:  # a compiler that is missing or fails is no reason not to train
        reason = str(error).strip().splitlines() or [type(error).__name__]
        echo(f"run.compile: off, for it failed: {reason[0]}")
        return None
    finally:
        network.zero_grad(set_to_none=True)
    differ = abs(found - expected) > TOLERANCE[precision] * abs(expected)
    use = not differ and fast <= GAIN * plain
    echo(
        f"run.compile: {'on' if use else 'off'}; a step takes {1000 * plain:.1f} ms plain, "
        f"{1000 * fast:.1f} ms compiled (loss {expected:.6g} and {found:.6g}; tried for "
        f"{time.perf_counter() - started:.0f} s)"
    )
    return compiled if use else None


def _trial(
    model: nn.Module, network: nn.Module, device: torch.device, batch: Any, step: Step
) -> tuple[float, float]:
    """The loss of a batch by ``network``, whose weights are ``model``'s, and seconds a step."""
    buffers = [copy.deepcopy(each) for each in model.buffers()]
    states = random_states()
    try:
        loss = _repeat(network, device, batch, step, _WARM)  # the first compiles
        seconds = time.perf_counter()
        _repeat(network, device, batch, step, _TIMED)
        seconds = (time.perf_counter() - seconds) / _TIMED
    finally:
        restore_random_states(states)
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
    return loss, seconds


def _repeat(network: nn.Module, device: torch.device, batch: Any, step: Step, times: int) -> float:
    """The first loss of some steps; returns when the last is computed."""
    losses = []
    for _ in range(times):
        network.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        losses.append(step(network, batch))
    first = float(losses[0])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return first
