"""What the scripts say: plain lines on standard output, log records on standard error."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence

from utils.untrusted.text import printable

SLOWEST, FASTEST = 1e-3, 1e4  # frames per second that files of video can hold
_silent = False


def echo(text: str = "") -> None:
    """Print a line for the user, unless another process speaks for this one."""
    if not _silent:
        print(printable(text), flush=True)


def silence() -> None:
    """Say no more than errors: another process says the same."""
    global _silent
    _silent = True
    logging.getLogger().setLevel(logging.ERROR)


def positive(text: str) -> float:
    """A number above zero from the command line, for argparse's ``type``; ``inf`` is one."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a number above 0")
    return value


def finite(text: str) -> float:
    """A number from the command line, neither infinite nor NaN."""
    value = _number(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a finite number")
    return value


def frame_rate(text: str) -> float:
    """Frames per second from the command line, such as files of video can hold."""
    value = _number(text)
    if not SLOWEST <= value <= FASTEST:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r}: must be a number from {SLOWEST:g} to {FASTEST:g}"
        )
    return value


def count(text: str) -> int:
    """A whole number from the command line, 0 or more."""
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a whole number, 0 or more")
    return int(text)


def seed(text: str) -> int:
    """A seed from the command line: a whole number from 0 to 2^32 - 1, as NumPy takes it."""
    if not text.isdecimal() or len(text) > 10 or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: must be a whole number below 2^32")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def setup_logging() -> None:
    """Send the library's log records (warnings, mostly) to standard error."""
    level = logging.ERROR if _silent else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def duration(seconds: float) -> str:
    """A length of time as people say it: ``7.0 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min"


def number_of(count: int, thing: str) -> str:
    """A count with its noun: ``no alarm``, ``1 alarm``, ``7 alarms``."""
    return f"{count or 'no'} {thing}{'s' if count > 1 else ''}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a text table: first column left-aligned, the others right-aligned."""
    lines = [list(map(str, header)), *[list(map(str, row)) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def layout(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([layout(lines[0]), rule, *map(layout, lines[1:])])
