"""Progress bars: one a step, or one for a whole command that runs several steps."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile
from tqdm.contrib.logging import logging_redirect_tqdm

from utils.console import duration, echo

_TELLING = 0.05  # of a step; its own pace counts once so much of it is done


@dataclass(frozen=True)
class Step:
    """Part of a command: its name, how many seconds it is expected to take, what it does."""

    name: str
    seconds: float
    run: Callable[[], object]


def run_steps(steps: Sequence[Step], first: int = 1) -> None:
    """Do steps one after the other, with a line for each and one bar for all.

    The bar stays below what the steps print. Where standard error is no terminal there is none.

    Args:
        steps: in order.
        first: number of the first one.
    """
    global _whole
    with contextlib.ExitStack() as stack:
        whole = _Whole(steps, first)
        if whole.is_shown:
            stack.enter_context(logging_redirect_tqdm())  # knows log records by their stream
            above = DummyTqdmFile(sys.stderr)  # tqdm makes room for what goes where the bar is
            if sys.stdout.isatty():
                stack.enter_context(contextlib.redirect_stdout(above))
            stack.enter_context(contextlib.redirect_stderr(above))
        stack.callback(whole.close)
        _whole = whole
        try:
            for step in steps:
                whole.begin(step)
                step.run()
                whole.end(step)
        finally:
            _whole = None


class ProgressBar(tqdm):
    """A bar on standard error; inside ``run_steps`` it is not drawn and moves the bar of all.

    Args:
        span: from which share of its step to which the bar leads.
        others: of tqdm.
    """

    def __init__(
        self, *arguments: Any, span: tuple[float, float] = (0.0, 1.0), **named: Any
    ) -> None:
        self._span, self._moved = span, _whole
        if self._moved is not None:
            named["file"] = io.StringIO()
        super().__init__(*arguments, **{"file": sys.stderr, **named})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Called by tqdm now and then."""
        if self._moved is None:
            return super().display(msg, pos)
        if self.total:
            begin, end = self._span
            self._moved.move(begin + (end - begin) * self.n / self.total)
        return True


def seconds_left(expected: float, share: float, began: float, spent: float) -> float:
    """How long a step still takes.

    Args:
        expected: seconds of the whole step, as was thought before.
        share: of it that is done.
        began: share that was done when it was resumed.
        spent: seconds since then.
    """
    done = share - began
    pace = spent / done if done >= _TELLING else expected
    return pace * (1 - share)


class _Whole:
    """The bar of all steps: share done by their expected seconds, time left, step at work."""

    def __init__(self, steps: Sequence[Step], first: int) -> None:
        self._number, self._done = first, 0.0  # of the step at work; seconds of those before
        self._last = first + len(steps) - 1
        self._all = max(sum(step.seconds for step in steps), 1e-9)
        self._expected = self._share = self._since = 0.0
        self._began: float | None = None
        self._bar = tqdm(
            total=1.0,
            desc=f"{first} of {self._last}",
            file=sys.stderr,
            disable=None,  # no terminal, no bar
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {percentage:3.0f} %{postfix}",
        )
        self.is_shown = not self._bar.disable

    def begin(self, step: Step) -> None:
        """Say which step comes."""
        self._expected, self._share, self._began = step.seconds, 0.0, None
        self._since = time.monotonic()
        name = f"{self._number} of {self._last}"
        echo(f"{name}: {step.name}, about {duration(step.seconds)}")
        self._bar.set_description_str(f"{name}, {step.name}", refresh=False)
        self._show()

    def end(self, step: Step) -> None:
        """Count it."""
        self._done, self._number = self._done + step.seconds, self._number + 1

    def move(self, share: float) -> None:
        """So much of the step at work is done; it never goes back."""
        if self._began is None:
            self._began, self._since = share, time.monotonic()
        self._share = max(self._share, min(share, 1.0))
        self._show()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _show(self) -> None:
        done = self._done + self._expected * self._share
        later = self._all - self._done - self._expected
        spent = time.monotonic() - self._since
        left = later + seconds_left(self._expected, self._share, self._began or 0.0, spent)
        self._bar.n = min(done / self._all, 1.0)
        self._bar.set_postfix_str(f"about {duration(left)} left")


_whole: _Whole | None = None
