"""Network and loss of a training step, compiled by ``torch.compile`` where that proves itself.

Compiled, they are a few kernels in place of a thousand, and on a GPU one launch of a recorded
graph. Random numbers are torch's own, so that dropout and latents are drawn as they would be.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.stage import LossTerms, StageTask
from utils import distributed
from utils.console import echo
from utils.errors import UserError
from utils.runtime import random_states, restore_random_states

Loss = Callable[[Any], LossTerms]  # of a batch
Step = Callable[[Loss, Any], torch.Tensor]  # forward and backward; returns the total

GAIN = 0.95  # of the plain step's time that a compiled one may take at most
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}  # relative difference of the losses; TF32 counts as fp32
_TIMED, _WARM = 5, 3


class StepLoss:
    """How a step computes its loss: plainly, or by the compiled equal.

    Args:
        task: whose loss it is.
        network: the task's, on its device, possibly wrapped for several processes.
        mode: ``run.compile``: ``off``, ``on`` or ``auto`` (on a GPU, where a trial says so).
        device: where it computes.
        precision: ``run.precision``, for what counts as the same loss.

    Raises:
        UserError: ``on``, and what torch compiles with is not there.
    """

    def __init__(
        self, task: StageTask, network: nn.Module, mode: str, device: torch.device, precision: str
    ) -> None:
        self.task, self.network, self.device, self.precision = task, network, device, precision
        # What a loss keeps for later (its memory) comes to its next batches, whose sizes then vary.
        self.undecided = (
            mode == "auto"
            and device.type == "cuda"
            and task.memory is None
            and distributed.count() == 1
        )
        if mode == "on":
            _require_compiler(device)
        self.compiled = self._compile() if mode == "on" else None

    def __call__(self, batch: Any, whole: bool, step: Step) -> Loss:
        """What gives the loss of ``batch``.

        Args:
            whole: the batch has as many items as the configuration says; a smaller one, at an
                epoch's end, would be compiled by itself.
            step: what the trial repeats.
        """
        if self.undecided and whole:
            self.undecided = False
            trial = Trial(self.network, self.device, batch, step)
            self.compiled = accept_compiled(trial, self.plain, self._compile(), self.precision)
        if self.compiled is None or not whole:
            return self.plain
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        return self.compiled

    def plain(self, batch: Any) -> LossTerms:
        """The loss, not compiled."""
        return self.task.loss(self.network, batch)

    @property
    def terms(self) -> nn.Module:
        """Network and loss as one module, from a batch's inputs to named terms."""
        return _Terms(self.network, self.task)

    def _compile(self) -> Loss:
        task, compiles_all = self.task, type(self.task).loss is StageTask.loss
        if not compiles_all or distributed.count() > 1:  # the network alone
            network = compile_network(self.network, self.device)
            return lambda batch: task.loss(network, batch)
        terms = compile_network(self.terms, self.device)
        return lambda batch: terms(*task.inputs(batch))


class _Terms(nn.Module):
    """Network and loss terms as one module."""

    def __init__(self, network: nn.Module, task: StageTask) -> None:
        super().__init__()
        self.network, self.task = network, task

    def forward(self, *inputs: Any) -> LossTerms:
        return self.task.terms(self.network, *inputs)


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


@dataclass(frozen=True)
class Trial:
    """Some steps on one batch, after which all is as it was before.

    Attributes:
        model: whose weights and statistics are used.
        device: where it computes.
        batch: of the loss.
        step: forward and backward.
    """

    model: nn.Module
    device: torch.device
    batch: Any
    step: Step

    def __call__(self, loss: Loss) -> tuple[float, float]:
        """The loss of the batch, and seconds a step."""
        buffers = [copy.deepcopy(each) for each in self.model.buffers()]
        states = random_states()
        try:
            value = self._repeat(loss, _WARM)  # the first compiles
            seconds = time.perf_counter()
            self._repeat(loss, _TIMED)
            return value, (time.perf_counter() - seconds) / _TIMED
        finally:
            self.model.zero_grad(set_to_none=True)
            restore_random_states(states)
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                    buffer.copy_(before)

    def _repeat(self, loss: Loss, times: int) -> float:
        """The first loss of some steps; returns when the last is computed."""
        first = None
        for _ in range(times):
            self.model.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            total = self.step(loss, self.batch)
            # A copy, for the next launch of a recorded graph writes over its results.
            first = total.detach().clone() if first is None else first
        assert first is not None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return float(first)


def accept_compiled(trial: Trial, plain: Loss, compiled: Loss, precision: str) -> Loss | None:
    """``compiled``, or ``None`` where it fails, changes the loss, or is not faster."""
    started = time.perf_counter()
    try:
        expected, plain_seconds = trial(plain)
        actual, seconds = trial(compiled)
    except Exception as error:  # a compiler that is missing or fails is no reason not to train
        reason = str(error).strip().splitlines() or [type(error).__name__]
        echo(f"run.compile: off, for it failed: {reason[0]}")
        return None
    differ = abs(actual - expected) > TOLERANCE[precision] * abs(expected)
    use = not differ and seconds <= GAIN * plain_seconds
    echo(
        f"run.compile: {'on' if use else 'off'}; a step takes {1000 * plain_seconds:.1f} ms plain, "
        f"{1000 * seconds:.1f} ms compiled (loss {expected:.6g} and {actual:.6g}; tried for "
        f"{time.perf_counter() - started:.0f} s)"
    )
    return compiled if use else None
